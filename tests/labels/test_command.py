"""`pd labels`: anybody's votes and images; bad input in one line."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from crowds import crowd
from PIL import Image
from refusals import refused_as

from pd.config.labels import LabelsSettings
from pd.errors import UserError
from pd.labels.dawid_skene import CHANCE
from pd.labels.fit import label
from pd.labels.majority import majority
from pd.labels.result import Labelled, known
from pd.labels.votes import read_votes
from pd.progress import Reporter
from pd.stages.label_images import label_images, write_labels


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """A folder of images whose brightness tells their class, and a table of votes."""
    here = tmp_path_factory.mktemp("crowd")
    votes, truth, _ = crowd(images=60, classes=2, each=6, seed=2, skills=np.linspace(0.4, 0.97, 12))
    (here / "images").mkdir()
    chance = np.random.default_rng(0)
    for name, what in zip(votes.images, truth, strict=True):
        pixels = np.clip(chance.normal(60 + 130 * what, 20, (16, 16)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(here / "images" / f"{name}.png")
    table = {
        "image": [f"{votes.images[i]}.png" for i in votes.image],
        "annotator": [votes.annotators[a] for a in votes.annotator],
        "label": [votes.classes[c] for c in votes.label],
    }
    pacsv.write_csv(pa.table(table), here / "votes.csv")
    return here, table, truth


SMALL = ["data.size=16", "labels.training.steps=30", "labels.warmup=12", "labels.width=8", "labels.batch=30"]


@pytest.mark.parametrize("method", ["majority", "dawid_skene", "crowd_layer", "ccc"])
def test_votes_become_labels(crowded, tmp_path, method):
    here, table, truth = crowded
    images = str(here / "images") if method in ("crowd_layer", "ccc") else None
    found = label_images(here / "votes.csv", images, tmp_path / "out", [f"labels.method={method}", *SMALL], Reporter())
    labels = pq.read_table(tmp_path / "out" / "labels.parquet").to_pydict()
    assert found.labelled == len(labels["image"]) == 60
    numbers = dict(zip(labels["image"], labels["label"], strict=True))
    right = np.mean([numbers[f"image-{i}.png"] == f"class-{c}" for i, c in enumerate(truth)])
    assert right > 0.6
    assert json.loads((tmp_path / "out" / "figures.json").read_text())["votes"] == len(table["label"])
    people = pacsv.read_csv(tmp_path / "out" / "annotators.csv").to_pydict()
    assert people["high"] == sorted(people["high"])
    assert all(
        low <= value <= high for low, value, high in zip(people["low"], people["reliability"], people["high"], strict=True)
    )


def test_unsure_labels_are_left_open(crowded, tmp_path):
    here, _, _ = crowded
    found = label_images(here / "votes.csv", None, tmp_path / "out", ["labels.least=0.99", *SMALL], Reporter())
    labels = pq.read_table(tmp_path / "out" / "labels.parquet").to_pydict()
    assert found.labelled == sum(label is not None for label in labels["label"]) < 60


def _written(tmp_path, **columns):
    pq.write_table(pa.table(columns), tmp_path / "votes.parquet")
    return tmp_path / "votes.parquet"


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"image": ["a"], "who": ["x"], "label": ["1"]}, "no column 'annotator'"),
        ({"image": ["a", "b"], "annotator": ["x", "y"], "label": ["1", "1"]}, "one class"),
        ({"image": ["a", None], "annotator": ["x", "y"], "label": ["1", "2"]}, "without 'image'"),
        ({"image": ["a", "b"], "annotator": ["x", " "], "label": ["1", "2"]}, "row 2: a vote without 'annotator'"),
        ({"image": ["a", "b"], "annotator": ["x", "y"], "label": [1.0, float("nan")]}, "row 2: a vote without 'label'"),
        ({"image": ["a", "b"], "annotator": ["x", "y"], "label": [[1], [2]]}, "'label' is neither text nor numbers"),
        ({"image": [b"\xff", b"b"], "annotator": ["x", "y"], "label": ["1", "2"]}, "'image' is neither text nor numbers"),
    ],
)
def test_bad_votes_are_one_line(tmp_path, columns, says):
    with pytest.raises(UserError, match=says):
        read_votes(_written(tmp_path, **columns))


def test_columns_of_one_name_are_one_line(tmp_path):
    (tmp_path / "votes.csv").write_text("image,image,annotator,label\na,a,x,1\nb,b,y,2\n")
    with refused_as("bad-name", "'image'"):
        read_votes(tmp_path / "votes.csv")


def test_further_votes_of_an_annotator_on_an_image_are_counted(tmp_path):
    table = _written(tmp_path, image=["a", "a", "b"], annotator=["x", "x", "x"], label=["1", "2", "1"])
    assert any("1 of 3 votes are further ones" in line for line in read_votes(table).warnings)


@pytest.mark.parametrize("name", ["image", "probability", "id", "x.probability"])
def test_a_label_is_not_called_as_a_column_of_the_table_is(crowded, tmp_path, name):
    here, _, _ = crowded
    with refused_as("bad-value", f"'{name}'"):
        label_images(here / "votes.csv", None, tmp_path / "out", [f"labels.column={name}"], Reporter())


def test_votes_for_images_that_are_not_there_are_counted(tmp_path):
    table = _written(tmp_path, image=["a", "b", "c"], annotator=["x", "x", "y"], label=["1", "2", "1"])
    found = read_votes(table, images=["a", "b"])
    assert any("1 of 3 votes" in line for line in found.warnings)
    with refused_as("no-images"):
        read_votes(table, images=["z"])
    with refused_as("bad-labels"):
        read_votes(table, classes=["1", "3"])


def test_numbers_are_read_as_names(tmp_path):
    (tmp_path / "votes.csv").write_text("image,annotator,label\n001,7,0\n002,7,1\n")
    assert read_votes(tmp_path / "votes.csv").images == ["001", "002"]


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8"), ("\t", "utf-8-sig"), ("|", "utf-16"), (",", "utf-16-le")])
def test_votes_are_read_as_people_save_them(tmp_path, separator, encoding):
    lines = ["note,image,annotator,label", "x,001,7,ä", "y,002,7,b", "z,001,8,b"]
    text = "\r\n".join(line.replace(",", separator) for line in lines) + "\r\n"
    (tmp_path / "votes.csv").write_bytes(text.encode(encoding))
    found = read_votes(tmp_path / "votes.csv")
    assert (found.images, found.classes, len(found)) == (["001", "002"], ["b", "ä"], 3)


def test_empty_cells_of_votes_are_none(tmp_path):
    (tmp_path / "votes.csv").write_text("image;annotator;label\na;x;1\nb;x;NA\n")
    with refused_as("bad-row", "2", "'label'"):
        read_votes(tmp_path / "votes.csv")


def test_annotators_of_one_vote_are_counted_and_guessing_crowds_named_by_every_method(tmp_path):
    table = _written(tmp_path, image=["a", "b", "a"], annotator=["x", "x", "y"], label=["1", "2", "1"])
    assert any("1 of 2 annotators gave one vote" in line for line in read_votes(table).warnings)
    guessing, _, _ = crowd(skills=np.full(9, 1 / 3))
    settings = LabelsSettings(votes=table, method="majority")
    assert CHANCE in label(guessing, None, settings, tmp_path, seed=0).warnings


def test_an_image_without_a_vote_has_no_label_where_no_image_is_looked_at():
    votes, _, _ = crowd(images=20)
    one_more = replace(votes, images=[*votes.images, "lone"])
    for method in ("majority", "dawid_skene"):
        settings = LabelsSettings(votes="votes.csv", method=method)
        found = label(one_more, None, settings, None, seed=0)
        assert known(one_more, found, settings).tolist() == [True] * 20 + [False]


def test_an_image_without_a_vote_has_no_majority_that_its_label_could_differ_from(tmp_path):
    votes, _, _ = crowd(images=20)
    one_more = replace(votes, images=[*votes.images, "lone"])
    shares = majority(one_more).probabilities.copy()
    shares[-1] = np.eye(3)[shares[-1].argmin()]
    settings = LabelsSettings(votes="votes.csv", method="ccc")
    found = write_labels(one_more, Labelled(shares), settings, tmp_path / "out")
    assert (found.labelled, found.changed) == (21, 0.0)
