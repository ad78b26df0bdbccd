"""The stage that makes candidates besides: as far as it must, and for another threshold only what is not there."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from pd.config import Settings, parse_settings
from pd.engine.stream.shards import plan, whole_shards, write_shard
from pd.filters.decide import Thresholds
from pd.filters.duplicate import SKETCH
from pd.filters.prompts import Prompts
from pd.filters.scorer import Scores
from pd.filters.table import scored_table
from pd.progress import Reporter
from pd.stages import top_up
from pd.stages.filter import files_in
from pd.store.context import Context
from pd.store.run import Run

PROMPTS = Prompts(("a face", "a face with glasses"), (3, 1), {"glasses": (0.0, 1.0)})
SET = ("generate.candidates=32", "generate.batch=4", "generate.shard_size=8", "generate.per_prompt=12", "filter.families=[]")


def rows(ids: range, prompt_of) -> object:
    """Scored candidates: a score is a function of the id, higher for glasses."""
    asked = [prompt_of(sample) for sample in ids]
    chance = [np.random.default_rng(sample) for sample in ids]
    score = np.array([0.2 * at + one.random() for at, one in zip(asked, chance, strict=True)], np.float32)
    images = np.stack([one.integers(0, 256, (8, 8, 1), dtype=np.uint8) for one in chance])
    n, sketch = len(ids), np.zeros((len(ids), SKETCH), np.int8)
    scores = Scores(score, ["r"] * n, np.zeros(n, np.float32), ["r"] * n, np.zeros((n, 0), np.float32), sketch, {})
    return scored_table([f"{i:09d}" for i in ids], images, scores, seed=1, prompts=[PROMPTS.texts[at] for at in asked])


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A run whose candidates are made; `made` notes what is made besides, by real shards of made-up scores."""
    found, made = Run(tmp_path / "run"), list[str]()
    for shard in plan(32, 8, 4):
        found.generated.mkdir(parents=True, exist_ok=True)
        pq.write_table(
            rows(range(shard.start, shard.stop), lambda i: PROMPTS.prompt_of(i, 1)), found.generated / f"{shard.name}.parquet"
        )
    threshold = [0.9]
    monkeypatch.setattr(top_up, "prompts_of", lambda *_: PROMPTS)
    monkeypatch.setattr(top_up, "real_words", lambda *_: None)
    monkeypatch.setattr(top_up, "decided_by", lambda context: (context.settings.filter, Thresholds(threshold[0], 0.9), None))

    def make(context: Context, prompts, shards) -> int:
        out = context.run.topped_up
        (out / ".done").mkdir(exist_ok=True)
        there = set(whole_shards(out, "x"))
        for shard in (one for one in shards if one not in there):
            write_shard(out, shard, rows(range(shard.start, shard.stop), lambda i: prompts.prompt_of(i, 1)), "x", {})
            made.append(shard.name)
        return 4 * len([one for one in shards if one not in there])

    monkeypatch.setattr(top_up, "_make", make)
    return SimpleNamespace(run=found, made=made, threshold=threshold)


def go(run: SimpleNamespace, *sets: str) -> tuple[dict, Settings]:
    settings = parse_settings({}, [*SET, *sets])
    return dict(top_up.execute(Context(settings, run.run, Reporter()))), settings


def kept(run: SimpleNamespace, settings: Settings) -> dict[str, int]:
    tables = [pq.read_table(file, columns=["prompt", "score", "id"]).to_pylist() for file in files_in(run.run, settings)]
    every = [row for table in tables for row in table]
    assert [row["id"] for row in every] == sorted(row["id"] for row in every)  # ids go on
    return {text: sum(row["score"] < run.threshold[0] and row["prompt"] == text for row in every) for text in PROMPTS.texts}


def test_enough_is_kept_of_each_prompt_and_no_more_is_made_than_needed(run: SimpleNamespace) -> None:
    facts, settings = go(run)
    found = kept(run, settings)
    assert min(found.values()) >= 12
    assert sum(found.values()) == facts["kept"]
    assert facts["made"] == facts["topped_up"] == 4 * len(run.made) <= 64
    assert facts["prompts_short"] == 0


def test_another_threshold_makes_only_what_is_not_there_and_the_first_one_again_nothing(run: SimpleNamespace) -> None:
    go(run)
    before, used = set(run.made), (run.run.topped_up / "used.json").read_text()
    run.threshold[0] = 0.5
    facts, settings = go(run)
    assert min(kept(run, settings).values()) >= 12
    assert facts["made"] == 4 * (len(run.made) - len(before)) < facts["topped_up"]
    assert len(run.made) == len(set(run.made))  # nothing twice
    run.threshold[0] = 0.9
    assert go(run)[0]["made"] == 0
    assert (run.run.topped_up / "used.json").read_text() == used


def test_the_bound_ends_it_and_says_so(run: SimpleNamespace) -> None:
    facts, _ = go(run, "generate.most=40", "generate.per_prompt=100")
    assert facts["topped_up"] == 8
    assert facts["prompts_short"] == 2
    assert len(json.loads((run.run.topped_up / "used.json").read_text())) == 2


def test_a_bound_below_the_candidates_is_refused() -> None:
    with pytest.raises(Exception, match="most = 10"):
        parse_settings({}, ["generate.most=10"])
