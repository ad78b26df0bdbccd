"""Settings of a run: one frozen pydantic model per stage, defaults that work, unknown keys refused.

A run is one YAML file; `--set teacher.steps=200` overrides one key. `Settings.digest()` names a run: two runs with equal
digests make equal results from equal data.
"""

from pd.config.audit import ARMS, Arm, AuditSettings
from pd.config.base import Precision, Section, Trained
from pd.config.candidates import FilterSettings, GenerateSettings
from pd.config.classifier import ClassifierSettings
from pd.config.commented import commented_yaml
from pd.config.condense import CondenseSettings
from pd.config.formal import FormalSettings, PublicSettings
from pd.config.load import load_settings, parse_settings
from pd.config.model import ModelSettings
from pd.config.people import CalibrationSettings, DataSettings, ReidSettings
from pd.config.recognisers import AirdSettings, CrrcdSettings, G2dSettings, MethodSettings, SupconSettings
from pd.config.release import Format, ReleaseSettings
from pd.config.screen import ScreenSettings
from pd.config.semi_vit import SemiVitSettings, VitSettings
from pd.config.settings import ClusterSettings, Settings, TrackingSettings, digest_of, flatten, section_keys
from pd.config.sources import PRESET_DATA, ColumnSettings, DicomSettings, VideoSettings
from pd.config.sweep import CONSTRAINT, FIGURES, Detectors, SweepSettings

__all__ = [
    "ARMS",
    "CONSTRAINT",
    "FIGURES",
    "PRESET_DATA",
    "AirdSettings",
    "Arm",
    "AuditSettings",
    "CalibrationSettings",
    "ClassifierSettings",
    "ClusterSettings",
    "ColumnSettings",
    "CondenseSettings",
    "CrrcdSettings",
    "DataSettings",
    "Detectors",
    "DicomSettings",
    "FilterSettings",
    "FormalSettings",
    "Format",
    "G2dSettings",
    "GenerateSettings",
    "MethodSettings",
    "ModelSettings",
    "Precision",
    "PublicSettings",
    "ReidSettings",
    "ReleaseSettings",
    "ScreenSettings",
    "Section",
    "SemiVitSettings",
    "Settings",
    "SupconSettings",
    "SweepSettings",
    "TrackingSettings",
    "Trained",
    "VideoSettings",
    "VitSettings",
    "commented_yaml",
    "digest_of",
    "flatten",
    "load_settings",
    "parse_settings",
    "section_keys",
]
