"""The stage `labels`: from ingest to what prompts and the audit read, without Ray."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pd.config import Settings, parse_settings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.real import real_words
from pd.dataset.worked_out import report_labels
from pd.errors import UserError
from pd.filters.captions import prompts_of
from pd.progress import Reporter
from pd.stages.graph import BY_NAME
from pd.stages.labels import execute
from pd.stages.verify import _real as opened
from pd.store.context import Context
from pd.store.run import Run

PEOPLE, EACH = 12, 4


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """A manifest of people; brightness tells `glasses`, which the column has wrong or not at all at times; and good votes."""
    here = tmp_path_factory.mktemp("people")
    chance = np.random.default_rng(0)
    rows, votes = [], []
    for row in range(PEOPLE * EACH):
        person, truth = row // EACH, (row // EACH + row % EACH) % 2
        pixels = np.clip(chance.normal(60 + 130 * truth, 20, (16, 16)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(here / f"{row}.png")
        given = None if row % 5 == 0 else float(truth if row % 7 else 1 - truth)
        split = "member" if person < PEOPLE // 2 else "holdout"
        rows.append({"image": f"{row}.png", "identity": f"p{person}", "split": split, "glasses": given, "hat": float(truth)})
        votes += [{"image": f"{row}.png", "annotator": f"a{a}", "label": str(truth if a < 3 else 1 - truth)} for a in range(4)]
    pacsv.write_csv(pa.Table.from_pylist(rows), here / "people.csv")
    pacsv.write_csv(pa.Table.from_pylist(votes), here / "votes.csv")
    return here


def settings_of(people, folder, **labels):
    section = {"training": {"steps": 30, "learning_rate": 0.02}, "width": 8, "batch": 12, **labels}
    return Settings.model_validate(
        {
            "name": "run",
            "runs": str(folder),
            "data": {"reader": "manifest", "path": str(people / "people.csv"), "size": 16},
            "labels": section,
        }
    )


def made(settings):
    run = Run(settings.run_dir)
    if not run.dataset.exists():
        ingest(settings.data, 0, run.dataset)
    facts = execute(Context(settings, run, Reporter()))
    return run, facts, json.loads((run.labels / "figures.json").read_text())


def truth_of(real):
    return real.labels["hat"]


def test_votes_become_labels_that_later_stages_read(people, tmp_path):
    settings = settings_of(people, tmp_path, votes=str(people / "votes.csv"), column="glasses")
    run, facts, figures = made(settings)
    raw = pq.read_table(run.dataset)["glasses"].to_pylist()
    real = real_words(run, settings)
    assert (real.labels["glasses"] == truth_of(real)).all()
    assert sum(a is not None and a != b for a, b in zip(raw, real.labels["glasses"], strict=True)) == facts["changed"] > 0
    table = pq.read_table(run.labels / "labels.parquet")
    assert table.column_names == ["id", "glasses", "glasses.probability"]
    assert set(prompts_of(real, settings).texts) == {"a photo of a person", "a photo of a person, glasses, hat"}
    worst = pacsv.read_csv(run.labels / "annotators.csv").to_pylist()[0]
    assert worst["name"] == "a3"
    assert worst["high"] < 0.2
    assert len(json.loads((run.labels / "changed.json").read_text())) == facts["changed"]
    assert figures["annotators"] == 4
    (run.private / "settings.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    assert (opened(run.dataset).labels["glasses"] == truth_of(real)).all()  # as `pd verify` reads them
    before = {path.name: path.read_bytes() for path in run.labels.iterdir()}
    made(settings)
    assert {path.name: path.read_bytes() for path in run.labels.iterdir()} == before


def test_members_labels_are_of_members_alone(people, tmp_path):
    table = pacsv.read_csv(people / "votes.csv").to_pylist()
    found = []
    for kind in ("all", "other"):
        for row in table:
            if int(row["image"].split(".")[0]) >= PEOPLE * EACH // 2 and kind == "other":
                row["label"] = int(row["annotator"] == "a0")
        pacsv.write_csv(pa.Table.from_pylist(table), tmp_path / f"{kind}.csv")
        settings = settings_of(people, tmp_path / kind, votes=str(tmp_path / f"{kind}.csv"))
        run, *_ = made(settings)
        found.append(pq.read_table(run.labels / "labels.parquet").slice(0, PEOPLE * EACH // 2).to_pydict())
    assert found[0] == found[1]


@pytest.mark.parametrize("method", ["fill", "transition"])
def test_columns_are_mended(people, tmp_path, method):
    settings = settings_of(people, tmp_path, columns=["glasses", "hat"], method=method)
    run, _, figures = made(settings)
    real = real_words(run, settings)
    known = np.isfinite(PrivateDataset.read_words(run.dataset).labels["glasses"])
    assert figures["filled"] == (~known).sum()
    assert (real.labels["glasses"] == truth_of(real))[~known].mean() > 0.8
    if method == "fill":
        assert figures["changed"] == 0
    else:
        assert {one["how"] for one in figures["transitions"]} <= {"correlation", "dual", "none"}
        assert any("Dual-T" in line for line in figures["warnings"]) == any(o["how"] == "dual" for o in figures["transitions"])


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ({"columns": ["gloves"], "method": "fill"}, "no label 'gloves'"),
        ({"votes": "nowhere.csv"}, "no table of votes"),
    ],
)
def test_bad_labels_are_one_line(people, tmp_path, labels, says):
    with pytest.raises(UserError, match=says):
        made(settings_of(people, tmp_path, **labels))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"labels": {"votes": "v.csv", "method": "fill"}}, "another method"),
        ({"labels": {"columns": ["a"]}}, "takes method transition, fill or semi_vit"),
        ({"labels": {}}, "either labels.votes or labels.columns"),
        ({"labels": {"columns": ["a", "a"], "method": "fill"}}, "twice"),
        ({"labels": {"votes": "s3://bucket/votes.csv"}}, "from a disk"),
        ({"labels": {"votes": "v.csv"}, "formal": {}}, "everybody's"),
    ],
)
def test_settings_that_contradict_are_refused(given, says):
    with pytest.raises(UserError, match=says):
        parse_settings(given, [], where="here")


def test_the_stage_is_asked_for_by_its_section_alone(people, tmp_path):
    asked = settings_of(people, tmp_path, votes="v.csv")
    plain = asked.model_copy(update={"labels": None})
    for name in ("teacher", "generate", "filter", "student", "audit", "report", "verify"):
        assert "labels" in BY_NAME[name].needs_in(asked)
        assert "labels" not in BY_NAME[name].needs_in(plain)


@pytest.mark.parametrize(
    ("uncertain", "unmentioned", "wanted"),
    [
        ("apart", "missing", [1, 0, -1, np.nan]),
        ("positive", "missing", [1, 0, 1, np.nan]),
        ("negative", "negative", [1, 0, 0, 0]),
        ("missing", "negative", [1, 0, np.nan, 0]),
    ],
)
def test_report_labels_are_read_as_asked(uncertain, unmentioned, wanted):
    labels = {"Edema": np.array([1, 0, -1, np.nan]), "age": np.array([1.0, 0, np.nan, 40]), "sex": np.array([1, 0, 1, np.nan])}
    real = PrivateDataset(list("abcd"), np.zeros((4, 0, 0, 1), np.uint8), list("abcd"), ["member"] * 4, ["x"] * 4, labels)
    found = report_labels(real, uncertain, unmentioned).labels
    np.testing.assert_array_equal(found["Edema"], wanted)
    for name in ("age", "sex"):
        np.testing.assert_array_equal(found[name], labels[name])
