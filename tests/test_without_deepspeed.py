"""Where DeepSpeed is not installed, all but training works."""

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import importlib, importlib.metadata, pkgutil, sys
from pathlib import Path

installed = importlib.metadata.Distribution.from_name

def without(name):
    if name == "deepspeed":
        raise importlib.metadata.PackageNotFoundError(name)
    return installed(name)

importlib.metadata.Distribution.from_name = without
sys.modules["deepspeed"] = None  # to import it is an error

import pd.engine.stream
from pd.config import DataSettings, ModelSettings, parse_settings
from pd.diffusion.components import build
from pd.diffusion.sampler import Sampler
from pd.pipeline import run_pipeline
from pd.progress import Reporter

for found in pkgutil.iter_modules(pd.engine.stream.__path__, "pd.engine.stream."):
    importlib.import_module(found.name)
importlib.import_module("pd.stages.generate")
parts = build(ModelSettings(unet="tiny"), DataSettings(size=16), 1)
images = Sampler(parts, mode="grey", batch=1).sample([0], ["a face"], seed=1, steps=1, guidance=1.0)
assert images.shape == (1, 16, 16, 1), images.shape
run_pipeline(parse_settings({"name": "faces", "runs": sys.argv[1]}), Reporter(), only=["ingest"])
"""


def test_images_are_sampled_and_the_lineage_says_that_it_is_absent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (record,) = tmp_path.rglob("ingest.json")
    versions = json.loads(record.read_text())["versions"]
    assert versions["deepspeed"] == "not installed"
    assert versions["torch"][0].isdecimal()
