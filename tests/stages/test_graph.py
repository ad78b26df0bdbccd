"""What each stage depends on."""

from pathlib import Path

import pytest

import pd.cli  # noqa: F401  (defines all commands)
from pd.cli.app import app
from pd.config import Settings, parse_settings
from pd.errors import UserError
from pd.pipeline import _inputs_of, _settings_of, _why_run, run_pipeline
from pd.progress import Reporter
from pd.stages.graph import BY_NAME, STAGES
from pd.store.lineage import Record
from pd.store.run import Run


@pytest.mark.parametrize("change", ["filter.reid=false", "filter.near_copy_quantile=0.98", "filter.vote=majority"])
def test_a_changed_filter_is_audited_again_even_where_it_drops_the_same(change: str) -> None:
    before, after = (_settings_of(BY_NAME["audit"], parse_settings({}, sets)) for sets in ((), (change,)))
    assert before != after


def test_weights_that_an_attacker_or_an_encoder_has_are_part_of_the_audit(tmp_path: Path) -> None:
    source, file = BY_NAME["audit"].source, tmp_path / "own.onnx"
    assert source is not None
    assert source(parse_settings({})) == ""
    for key in (f"audit.features=onnx:{file}", f"audit.attackers=[imagenet, onnx:{file}]", f"audit.features=timm:a/{file}"):
        settings, seen = parse_settings({}, [key]), set[str]()
        for size in (1, 2, 3):
            file.write_bytes(b"x" * size)
            seen.add(source(settings))
        assert len(seen) == 3


@pytest.mark.parametrize("key", ["uncertain=negative", "unmentioned=negative"])
def test_labels_are_made_again_where_the_columns_are_read_otherwise(key: str) -> None:
    asked = {"labels": {"columns": ["edema"], "method": "fill"}}
    before, after = (_settings_of(BY_NAME["labels"], parse_settings(asked, sets)) for sets in ((), (f"data.{key}",)))
    assert before != after


def test_other_public_pictures_and_other_weights_are_noticed(tmp_path: Path) -> None:
    person = tmp_path / "public" / "ann"
    person.mkdir(parents=True)
    (person / "1.png").write_bytes(b"one")
    (tmp_path / "net.onnx").write_bytes(b"one")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.safetensors").write_bytes(b"one")
    public = {"public": {"path": str(tmp_path / "public")}, "reid": {"method": "g2d"}}
    attackers = {"audit": {"attackers": [f"onnx:{tmp_path}/net.onnx", f"network:{tmp_path}/other"]}}

    def seen(given: object, stage: str) -> str:
        source = BY_NAME[stage].source
        assert source is not None
        return source(Settings.model_validate(given))

    assert seen({}, "audit") == seen({}, "reid") == ""
    before = [seen(public, "audit"), seen(public, "reid"), seen(attackers, "audit")]
    (person / "2.png").write_bytes(b"two")
    (tmp_path / "net.onnx").write_bytes(b"two")
    after = [seen(public, "audit"), seen(public, "reid"), seen(attackers, "audit")]
    assert all(old != new for old, new in zip(before, after, strict=True))
    (tmp_path / "other" / "model.safetensors").write_bytes(b"two")
    assert seen(attackers, "audit") != after[2]


def test_an_attacker_that_is_not_there_is_told_before_the_first_stage(tmp_path: Path) -> None:
    settings = parse_settings({"runs": str(tmp_path), "audit": {"attackers": ["thumbnail"]}})
    with pytest.raises(UserError, match="did you mean 'thumbnails'"):
        run_pipeline(settings, Reporter())
    assert not settings.run_dir.exists()


def test_how_the_work_is_laid_out_spends_no_budget_again(tmp_path: Path) -> None:
    """Neither of a run that is made now, nor of one whose record still names these settings."""
    before, after = (parse_settings({"formal": {}, "runs": str(tmp_path)}, sets) for sets in ((), ["formal.workers=2"]))
    stage, run = BY_NAME["formal"], Run(before.run_dir)
    for changed in (["formal.workers=2"], ["formal.micro_batch=8"], ["formal.checkpoint_every=5"]):
        assert _settings_of(stage, before) == _settings_of(
            stage, parse_settings({"formal": {}, "runs": str(tmp_path)}, changed)
        )
    old = {**_settings_of(stage, before), "formal.workers": 0, "formal.micro_batch": 64, "formal.checkpoint_every": 20}
    record = Record("formal", old, _inputs_of(stage, run, before), {}, {}, 1.0)
    assert _why_run(stage, record, run, after) is None
    noise = parse_settings({"formal": {"epsilon": 3}, "runs": str(tmp_path)})
    assert "formal.epsilon changed" in str(_why_run(stage, record, run, noise))


def test_each_stage_that_an_error_asks_for_is_a_command() -> None:
    """`pd NAME` first, it says."""
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {stage.name for stage in STAGES} <= commands


def test_stages_that_nobody_asks_for_are_as_if_there_were_none() -> None:
    plain = parse_settings({})
    for stage, need in (("filter", "top_up"), ("audit", "early")):
        assert need in BY_NAME[stage].needs
        assert need not in BY_NAME[stage].needs_in(plain)
        assert not BY_NAME[need].asked(plain)
    asked = parse_settings({}, ["generate.per_prompt=10", "audit.arms=[teacher, early]"])
    assert "top_up" in BY_NAME["filter"].needs_in(asked)
    assert "early" in BY_NAME["audit"].needs_in(asked)


@pytest.mark.parametrize(("sets", "stages"), [([], ["filter"]), (["generate.shares={glasses: 0.5}"], ["top_up", "filter"])])
def test_pd_filter_makes_what_another_threshold_lacks_first(
    sets: list[str], stages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pd.cli.app import run_stage

    ran: list[str] = []
    monkeypatch.setattr("pd.pipeline.run_pipeline", lambda settings, reporter, only: ran.extend(only))
    (tmp_path / "a.yaml").write_text("name: a\n")
    run_stage("filter", tmp_path / "a.yaml", sets)
    assert ran == stages
