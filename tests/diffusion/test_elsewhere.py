"""A teacher that was trained elsewhere."""

import json
from pathlib import Path

import pytest
from refusals import refused_as
from safetensors.torch import load_file

from pd.config import DataSettings, ModelSettings, parse_settings
from pd.diffusion.elsewhere import check_trained, take
from pd.engine.probe import measure
from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.teacher import execute
from pd.store.context import Context
from pd.store.run import Run


def test_its_weights_are_taken_as_they_are_and_its_training_is_unknown(base: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    facts = take(base, DataSettings(), out)
    name = "unet/diffusion_pytorch_model.safetensors"
    given, taken = load_file(base / name), load_file(out / name)
    assert given.keys() == taken.keys()
    assert all((given[key] == taken[key]).all() for key in given)
    assert facts["training"] == "unknown (trained elsewhere)"
    assert facts["parameters"] == sum(value.numel() for value in given.values())
    lines = json.loads((out / "lineage.json").read_text())
    assert {line["trained_on"] for line in lines.values()} == {"unknown (trained elsewhere)"}
    assert str(base) not in (out / "lineage.json").read_text()


def test_the_stage_trains_nothing(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pd.stages.teacher.train_model", lambda *_: pytest.fail("trained"))
    settings = parse_settings({"teacher": {"trained": str(base)}})
    run = Run(tmp_path / "run")
    execute(Context(settings, run, Reporter()))
    assert (run.teacher / "model_index.json").exists()


def test_a_denoiser_that_is_no_unet_is_refused_by_plan_in_one_line(base: Path, tmp_path: Path) -> None:
    index = json.loads((base / "model_index.json").read_text())
    del index["unet"]
    (base / "model_index.json").write_text(json.dumps(index | {"transformer": ["diffusers", "PixArtTransformer2DModel"]}))
    settings = parse_settings({"teacher": {"trained": str(base)}})
    with refused_as("bad-weights", "PixArtTransformer2DModel", "UNets"):
        measure(settings, Reporter())
    with refused_as("no-such-folder"):
        check_trained(ModelSettings(trained=tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"student": {"trained": "somewhere"}}, "student.trained"),
        ({"teacher": {"trained": "somewhere"}, "audit": {"shadows": 2}}, "audit.shadows"),
    ],
)
def test_where_it_makes_no_sense_it_is_refused(settings: dict[str, object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse_settings(settings)
