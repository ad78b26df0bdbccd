"""From settings to a source of rows."""

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from pd.config import DataSettings
from pd.config.sources import READERS
from pd.dataset.readers.dicom import dicom
from pd.dataset.readers.faces import faces
from pd.dataset.readers.folder import folder
from pd.dataset.readers.huggingface import huggingface
from pd.dataset.readers.manifest import manifest
from pd.dataset.readers.presets.chest import chexpert, mimic_cxr, nih_chestxray14, padchest
from pd.dataset.readers.presets.general import fashion_mnist, imagefolder, webdataset
from pd.dataset.readers.presets.people import celeba, lfw
from pd.dataset.readers.source import Source
from pd.dataset.readers.video import video
from pd.errors import UserError

PRESETS: Mapping[str, Callable[[DataSettings], Source]] = {
    each.__name__: each
    for each in (mimic_cxr, chexpert, nih_chestxray14, padchest, lfw, celeba, fashion_mnist, imagefolder, webdataset)
}
_WITHOUT_PATH = ("lfw",)


def open_source(settings: DataSettings) -> Source:
    """The source that `data.preset`, or `data.reader`, and `data.path` name.

    Raises:
        UserError: the path is missing, wrong, or given where none is read.
    """
    if settings.preset is not None:
        if settings.path is None and settings.preset not in _WITHOUT_PATH:
            what = f"data.preset is {settings.preset}, but no path is set"
            raise UserError(
                what, code="bad-options", where="data.path", fix="set data.path to the folder that the set was unpacked into"
            )
        if settings.preset in PRESETS:
            return PRESETS[settings.preset](settings)
        (brought,) = entry_points(group=READERS, name=settings.preset)
        source: Source = brought.load()(settings)
        return source
    if settings.reader == "faces":
        if settings.path is not None:
            raise UserError(
                f"'{settings.path}' would not be read: data.reader is faces",
                code="bad-options",
                where="data.path",
                fix="set data.reader to folder or manifest",
            )
        return faces()
    if settings.path is None:
        raise UserError(
            f"data.reader is {settings.reader}, but no path is set", code="bad-options", where="data.path", fix="set data.path"
        )
    if settings.reader == "folder":
        return folder(settings.path, settings.identity_from)
    if settings.reader == "dicom":
        return dicom(settings.path, settings)
    if settings.reader == "video":
        return video(settings)
    if settings.reader == "huggingface":
        return huggingface(settings)
    return manifest(settings.path, settings.columns, settings.identity_from)
