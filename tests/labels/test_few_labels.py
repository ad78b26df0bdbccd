"""Gaps filled by Semi-ViT: in a run, by the command; what is held out; bad input in one line."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from pd.classify.fine_tune import load_vit
from pd.classify.inputs import Held, tensor
from pd.cli import app
from pd.config import Settings, parse_settings
from pd.dataset.cache import Cached
from pd.dataset.images import encode_png
from pd.dataset.ingest import ingest
from pd.dataset.private import MAX_CATEGORIES
from pd.dataset.real import real_words
from pd.errors import UserError
from pd.labels.semi_vit import Known, hold_out
from pd.progress import Reporter
from pd.stages.few_labels import Filled, Measured
from pd.stages.fill_images import _groups, fill_images
from pd.stages.label_table import values_of
from pd.stages.labels import execute
from pd.stages.report import _labels
from pd.store.context import Context
from pd.store.run import Run

PEOPLE, EACH = 16, 4
SMALL = {
    "network": {"patch": 8, "width": 16, "depth": 1, "heads": 2},
    "batch": 8,
    "ratio": 3,
    "supervised": 0.4,
}
TRAINING = {"steps": 40, "learning_rate": 0.01}


def picture(truth, chance):
    return np.clip(chance.normal(60 + 130 * truth, 20, (16, 16, 1)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """People of whom a third of the pictures is labelled; brightness tells the class."""
    here = tmp_path_factory.mktemp("few")
    chance, rows = np.random.default_rng(0), []
    for row in range(PEOPLE * EACH):
        person, truth = row // EACH, (row // EACH + row % EACH) % 2
        Image.fromarray(picture(truth, chance)[:, :, 0]).save(here / f"{row}.png")
        known = row % 3 == 0
        split = "member" if person < PEOPLE // 2 else "holdout"
        rows.append(
            {"image": f"{row}.png", "identity": f"p{person}", "split": split, "truth": float(truth)}
            | {"glasses": float(truth) if known else None, "hair": ["dark", "fair"][truth] if known else None}
        )
    pq.write_table(pa.Table.from_pylist(rows), here / "people.parquet")
    return here


def settings_of(people, folder, columns, **few):
    return Settings.model_validate(
        {
            "name": "run",
            "runs": str(folder),
            "data": {"reader": "manifest", "path": str(people / "people.parquet"), "size": 16},
            "labels": {"columns": columns, "method": "semi_vit", "training": TRAINING, "semi_vit": {**SMALL, **few}},
        }
    )


def made(settings):
    run = Run(settings.run_dir)
    ingest(settings.data, 0, run.dataset)
    execute(Context(settings, run, Reporter()))
    return run, json.loads((run.labels / "figures.json").read_text())


def test_a_run_reads_the_filled_columns_and_says_how_right_they_are(people, tmp_path):
    settings = settings_of(people, tmp_path, ["glasses", "hair"], mae_steps=4, per_class=True)
    run, figures = made(settings)
    real = real_words(run, settings)
    truth = real.labels["truth"]
    for name, found in (("glasses", real.labels["glasses"]), ("hair", real.labels["hair=fair"])):
        measured, filled = figures["measured"][name], np.isfinite(found)
        assert measured["labelled"] + measured["filled"] == filled.sum()
        assert measured["filled"] + measured["open"] == len(truth) - measured["labelled"]
        assert measured["people"] == PEOPLE // 2  # hold-out people alone
        assert (found == truth)[filled].mean() > 0.9
        assert measured["precision"]["value"] > 0.9
    table = pq.read_table(run.labels / "labels.parquet").to_pydict()
    raw = dict(zip(*(pq.read_table(run.dataset)[name].to_pylist() for name in ("id", "glasses")), strict=True))
    for ident, value, sure in zip(table["id"], table["glasses"], table["glasses.probability"], strict=True):
        if raw[ident] is not None:
            assert (value, sure) == (raw[ident], 1.0)
    shown = _labels(run)
    assert {one["label"] for one in shown["unsure"]} == {"glasses", "hair"}
    assert all(raw[one["id"]] is None for one in shown["unsure"])


def test_members_are_told_by_members_alone(people, tmp_path):
    table = pq.read_table(people / "people.parquet").to_pylist()
    found = []
    for kind in ("all", "other"):
        for row in table:
            if row["split"] == "holdout" and kind == "other" and row["glasses"] is not None:
                row["glasses"] = 1 - row["glasses"]
        pq.write_table(pa.Table.from_pylist(table), people / f"{kind}.parquet")
        settings = settings_of(people, tmp_path / kind, ["glasses"])
        data = settings.data.model_copy(update={"path": people / f"{kind}.parquet"})
        run, figures = made(settings.model_copy(update={"data": data}))
        read = pq.read_table(run.labels / "labels.parquet")
        splits = pq.read_table(run.dataset)["split"].to_pylist()
        found.append([row for row, split in zip(read.to_pylist(), splits, strict=True) if split == "member"])
    assert found[0] == found[1]
    assert figures["measured"]["glasses"]["accuracy"]["value"] < 0.2  # the hold-out people's are the wrong way round


def test_all_columns_are_checked_before_any_training(people, tmp_path, monkeypatch):
    monkeypatch.setattr("pd.stages.few_labels.learn", lambda *_, **__: pytest.fail("trained"))
    with pytest.raises(UserError, match="'truth' has no gap"):
        made(settings_of(people, tmp_path, ["glasses", "truth"]))


@pytest.mark.parametrize(("classes", "told"), [(MAX_CATEGORIES, False), (MAX_CATEGORIES + 1, True)])
def test_open_labels_are_no_class(people, tmp_path, monkeypatch, classes, told):
    settings = settings_of(people, tmp_path, ["hair"])
    run = Run(settings.run_dir)
    ingest(settings.data, 0, run.dataset)
    rows = PEOPLE * EACH
    values = [f"c{row % classes}" if row else None for row in range(rows)]
    filled = Filled(values, np.ones(rows), rows - 1, 0, 1, classes, Measured(tested=1), [], [])
    monkeypatch.setattr("pd.stages.few_labels.fill_column", lambda *_, **__: filled)
    execute(Context(settings, run, Reporter()))
    found = json.loads((run.labels / "figures.json").read_text())
    assert any("make no labels" in line for line in found["warnings"]) is told


def folder_of(tmp_path, rows=60, identity=True, **columns):
    chance = np.random.default_rng(1)
    truth = np.arange(rows) % 2
    table = {
        "image": [{"bytes": encode_png(picture(t, chance)), "path": None} for t in truth],
        "kind": ["dark" if t == 0 else "bright" for t in truth],
        **({"identity": [f"p{row // 3}" for row in range(rows)]} if identity else {}),
        **columns,
    }
    table["kind"] = [value if row % 2 or row % 3 else None for row, value in enumerate(table["kind"])]
    pq.write_table(pa.table(table), tmp_path / "i.parquet")
    return str(tmp_path / "i.parquet"), truth


OVERRIDES = [
    "data.size=16",
    "labels.training.steps=40",
    "labels.training.learning_rate=0.01",
    "labels.semi_vit.network.patch=8",
    "labels.semi_vit.network.width=16",
    "labels.semi_vit.network.heads=2",
    "labels.semi_vit.network.depth=1",
    "labels.semi_vit.batch=8",
]


def test_the_command_fills_measures_and_writes_the_classifier(tmp_path):
    images, truth = folder_of(tmp_path)
    words = [word for value in OVERRIDES for word in ("--set", value)]
    given = ["labels", "--images", images, "--labels", "kind", "--method", "semi_vit", "--out", str(tmp_path / "out"), *words]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    assert figures["split"] == "person"
    assert figures["precision"]["value"] > 0.9
    table = pq.read_table(tmp_path / "out" / "labels.parquet").to_pydict()
    assert np.mean([k in (None, ["dark", "bright"][t]) for k, t in zip(table["kind"], truth, strict=True)]) == 1
    assert sum(not known for known in table["known"]) == figures["filled"] + figures["open"] == 10
    onnxruntime = pytest.importorskip("onnxruntime")
    module = load_vit(tmp_path / "out" / "model")
    pixels = np.stack([picture(t, np.random.default_rng(7)) for t in (0, 1, 1)])
    batch = tensor(Held(pixels), np.arange(3))
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model" / "model.onnx"))
    (logits,) = session.run(None, {"images": batch.numpy()})
    np.testing.assert_allclose(logits, module(batch).detach().numpy(), atol=1e-4)
    assert load_file(tmp_path / "out" / "model" / "model.safetensors").keys() == module.state_dict().keys()
    classes = json.loads((tmp_path / "out" / "model" / "classes.json").read_text())
    assert [classes[at] for at in logits.argmax(1)] == ["dark", "bright", "bright"]


def test_pictures_of_nobody_are_split_by_picture(tmp_path):
    images, _ = folder_of(tmp_path, identity=False)
    found = fill_images(images, "kind", None, tmp_path / "out", [*OVERRIDES, "labels.training.steps=2"], Reporter())
    assert found.split == "picture"
    assert any("split by picture" in line for line in found.warnings)


def test_people_who_are_measured_on_are_not_looked_at(tmp_path, monkeypatch):
    images, _ = folder_of(tmp_path)
    looked: set[int] = set()
    take = Cached.take

    def noted(self, rows):
        looked.update(rows.tolist())
        return take(self, rows)

    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Cached, "take", noted)
    monkeypatch.setattr("pd.labels.semi_vit.load_vit", stopped)  # training is over
    given = [*OVERRIDES, "labels.semi_vit.mae_steps=20"]
    with pytest.raises(KeyboardInterrupt):
        fill_images(images, "kind", None, tmp_path / "out", given, Reporter())
    people = {row // 3 for row in range(60)} - {row // 3 for row in looked - {0}}
    assert len(people) >= 3


def test_people_are_held_out_whole_and_every_class_keeps_two():
    known = Known.of("x", [*"aabbab", None, *"ab"])
    groups = ["p", "p", "q", "q", "r", "r", "r", "s", "s"]
    held = hold_out(known, groups, 0.5, 0)
    assert 0 < held.sum() <= 4
    for group in "pqrs":
        rows = [row for row in range(9) if groups[row] == group and known.labels[row] >= 0]
        assert len({bool(held[row]) for row in rows}) == 1
    assert (np.bincount(known.only(~held).labels[known.only(~held).labels >= 0]) >= 2).all()
    assert not hold_out(Known.of("x", list("aabb")), list("pqrs"), 0.5, 0).any()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (["a", "a", None], "1 class"),
        (["a", "a", "b", None], "1 of 2 classes have fewer than two"),
    ],
)
def test_labels_that_nothing_can_be_learned_from_are_one_line(values, says):
    with pytest.raises(UserError, match=says):
        Known.of("x", values).check("here")


def test_fewer_labelled_images_than_classes_is_one_line():
    known = Known.of("x", list("abcab")).only(np.arange(5) < 2)
    with pytest.raises(UserError, match="2 labelled images to learn from and 3 classes"):
        known.check("here")


@pytest.mark.parametrize(
    ("column", "overrides", "says"),
    [
        ("nothing", [], "no column 'nothing'"),
        ("full", [], "no gap"),
        ("lists", [], "neither text nor numbers"),
        ("kind", ["labels.semi_vit.network.patch=5"], "do not divide images of 16"),
        ("kind", ["labels.semi_vit.network.name=resnet"], "no network 'resnet'"),
        ("kind", ["labels.method=fill"], "fills gaps by semi_vit, not by fill"),
        ("probability", [], "holds no label"),
        ("known", [], "holds no label"),
        ("identity", [], "holds no label"),
        ("kind", ["labels.training.workers=3"], "does not divide among 3 workers"),
        ("kind", ["labels.training.workers=[2, 4]"], "multiple of 12, or set one number"),
    ],
)
def test_bad_input_is_one_line_before_the_work(tmp_path, column, overrides, says):
    columns = {"probability": [None, "x", "y"] * 20, "known": [None, "x", "y"] * 20}
    images, _ = folder_of(tmp_path, full=["x", "y"] * 30, lists=[[1]] * 60, **columns)
    with pytest.raises(UserError, match=says):
        fill_images(images, column, None, tmp_path / "out", [*OVERRIDES, *overrides], Reporter())


def test_images_in_files_take_a_table(tmp_path):
    *_, given, _ = in_files(tmp_path, ["image,kind", *(f"{row}.png,{row % 2}" for row in range(8))])
    found = fill_images(str(tmp_path / "images"), "kind", tmp_path / "t.csv", tmp_path / "out", given, Reporter())
    assert (found.labelled, found.filled, found.open) == (8, 4, 0)
    (tmp_path / "t.csv").write_text("image,other\n1.png,2\n")
    with pytest.raises(UserError, match="no column 'kind'"):
        fill_images(str(tmp_path / "images"), "kind", tmp_path / "t.csv", tmp_path / "out2", given, Reporter())
    (tmp_path / "t.csv").write_text("image,kind\nx.png,2\n")
    with pytest.raises(UserError, match="no image of the table"):
        fill_images(str(tmp_path / "images"), "kind", tmp_path / "t.csv", tmp_path / "out2", given, Reporter())


def in_files(tmp_path, lines):
    """Twelve images in files and a table."""
    chance = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for row in range(12):
        Image.fromarray(picture(row % 2, chance)[:, :, 0]).save(tmp_path / "images" / f"{row}.png")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    given = [*OVERRIDES, "labels.training.steps=2", "labels.least=0"]
    return str(tmp_path / "images"), "kind", tmp_path / "t.csv", tmp_path / "out", given, Reporter()


def test_people_of_the_labelled_images_alone_must_be_named(tmp_path):
    lines = ["image,kind,identity", *(f"{row}.png,{row % 2},{row // 2:03}" for row in range(8))]
    found = fill_images(*in_files(tmp_path, lines))
    assert (found.split, found.labelled) == ("person", 8)
    assert any("4 of 12 images, none of them labelled, have no name" in line for line in found.warnings)


def test_a_labelled_image_of_nobody_means_a_split_by_picture():
    known = Known.of("x", ["a", "b", "a", None])
    assert _groups(["p", "p", "q", None], [*"0123"], known) == (["p", "p", "q", "\0" + "3"], True)
    assert _groups(["p", "p", "", "q"], [*"0123"], known) == ([*"0123"], False)


def test_labels_that_look_like_dates_are_text_and_minus_one_is_not_known(tmp_path):
    lines = ["image,kind", *(f"{row}.png,2020-01-0{1 + row % 2}" for row in range(8))]
    found = fill_images(*in_files(tmp_path, lines))
    assert (found.labelled, found.classes) == (8, 2)
    read = pq.read_table(tmp_path / "out" / "labels.parquet")
    assert set(read["kind"].to_pylist()) == {"2020-01-01", "2020-01-02"}
    lines = ["image,kind", *(f"{row}.png,{row % 2 if row < 8 else -1}" for row in range(12))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    assert values_of(tmp_path / "t.csv", "kind", ["9.png"]) == [{"kind": -1.0}]
    given = [*OVERRIDES, "labels.training.steps=2", "labels.least=0"]
    found = fill_images(str(tmp_path / "images"), "kind", tmp_path / "t.csv", tmp_path / "numbers", given, Reporter())
    assert (found.labelled, found.filled, found.classes) == (8, 4, 2)


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16")])
def test_a_table_is_read_as_people_save_it(tmp_path, separator, encoding):
    text = "image,kind,identity\n001,1,007\n002,NA,\n003,yes,7\n".replace(",", separator)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert values_of(tmp_path / "t.csv", "kind", ["001", "002", "003"]) == [
        {"kind": "1", "identity": "007"}, {"kind": None, "identity": None}, {"kind": "yes", "identity": "7"},
    ]  # fmt: skip


def test_cells_of_a_table_are_read_as_what_they_are(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("image,kind,identity\n001,1,007\n002,NA,\n003,yes,7\n")
    assert values_of(path, "kind", ["001", "002", "003", "4"]) == [
        {"kind": "1", "identity": "007"}, {"kind": None, "identity": None}, {"kind": "yes", "identity": "7"}, {},
    ]  # fmt: skip
    path.write_text("image,kind\n001,1\n002,\n")
    assert values_of(path, "kind", ["001", "002"]) == [{"kind": 1.0}, {"kind": None}]
    path.write_bytes("image,kind\n1.png,Müller\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        values_of(path, "kind", ["1.png"])
    path.write_text("image,kind,kind\n1.png,1,2\n")
    with pytest.raises(UserError, match="two columns are called 'kind'"):
        values_of(path, "kind", ["1.png"])
    path.write_text("image,kind\n1.png,1\n1.png,1\n2.png,\n2.png,0\n")
    with pytest.raises(UserError, match="1 rows say other things of an image"):
        values_of(path, "kind", ["1.png"])
    nobody = pa.table({"image": ["a", "b"], "kind": ["x", "y"], "identity": [1.0, float("nan")]})
    pq.write_table(nobody, tmp_path / "t.parquet")
    found = values_of(tmp_path / "t.parquet", "kind", ["a", "b"])
    assert [one["identity"] for one in found] == ["1", None]
    pq.write_table(pa.table({"image": ["a"], "kind": [[1]]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="neither text nor numbers"):
        values_of(tmp_path / "t.parquet", "kind", ["a"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--out", "x"], "either --votes or --labels"),
        (["--out", "x", "--labels", "kind"], "goes with --images"),
        (["--out", "x", "--votes", "v.csv", "--table", "t.csv"], "--table goes with --labels"),
    ],
)
def test_options_that_contradict_are_refused(given, says):
    result = CliRunner().invoke(app, ["labels", *given])
    assert says in str(result.exception) + result.output


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ({"weights": "w.safetensors"}, "tiny learns from scratch"),
        ({"name": "timm:vit_tiny_patch16_224", "weights": "s3://bucket/w.safetensors"}, "read from a disk"),
        ({"width": 64, "heads": 3}, "do not divide a width"),
    ],
)
def test_networks_that_cannot_be_are_refused(network, says):
    given = {"labels": {"columns": ["x"], "method": "semi_vit", "semi_vit": {"network": network}}}
    with pytest.raises(UserError, match=says):
        parse_settings(given, [], where="here")
