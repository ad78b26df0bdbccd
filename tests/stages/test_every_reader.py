"""Commands that take images take them from every reader, preset and address, or say in one line why not."""

import json

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from bucket import BUCKET
from dicom_makers import encoded, made
from PIL import Image
from refusals import refused_as
from small_people import QUICK, reporter, small_people
from terminal import pd_here

from pd.progress import Reporter
from pd.stages.classifier_images import classifier_of_images
from pd.stages.condense_images import condense_images
from pd.stages.external import audit_folders, filter_folders
from pd.stages.fill_images import fill_images
from pd.stages.label_images import label_images

PEOPLE, EACH = 8, 2
CONDENSE = ("data.size=16", "condense.width=8", "condense.batch=4", "condense.per_class=2", "condense.training.steps=2")
CLASSIFIER = (
    "data.size=16", "classifier.queries_from=noise", "classifier.delta=0.01", "classifier.width=8", "classifier.teachers=2",
    "classifier.queries=4", "classifier.sigma=2", "classifier.teacher.steps=2", "classifier.student.steps=2",
)  # fmt: skip
LABELS = ("data.size=16", "labels.training.steps=4", "labels.warmup=2", "labels.width=8", "labels.batch=8")
FILL = (
    "data.size=16", "labels.training.steps=2", "labels.semi_vit.network.patch=8", "labels.semi_vit.network.width=16",
    "labels.semi_vit.network.heads=2", "labels.semi_vit.network.depth=1", "labels.semi_vit.batch=8",
    "labels.semi_vit.mae_steps=2", "labels.least=0",
)  # fmt: skip
FORMS = ("dicom", "nih", "huggingface", "csv")
SEX = {"dicom": "PatientSex", "nih": "Patient Gender", "huggingface": "sex", "csv": "sex"}


def picture(number, bright):
    return (np.random.default_rng(number).integers(0, 80, (20, 20)) + 150 * bright).astype(np.uint8)


def people(form, root):
    """Pictures of eight people, two each, in one form; those of men are bright. Where they lie, and settings that read them."""
    pictures = [(f"p{n // EACH}", "FM"[n // EACH % 2], picture(n, n // EACH % 2)) for n in range(PEOPLE * EACH)]
    root.mkdir(parents=True)
    if form == "dicom":
        for n, (who, sex, pixels) in enumerate(pictures):
            (root / f"IM{n:02}.dcm").write_bytes(encoded(made(pixels, bits=8, PatientID=who, PatientSex=sex)))
        return root, ("data.columns.labels=[PatientSex]",)
    if form == "huggingface":
        kind = datasets.ClassLabel(names=["F", "M"])
        features = {"image": datasets.Image(), "identity": datasets.Value("string"), "sex": kind}
        table = {"image": [Image.fromarray(one) for _, _, one in pictures], "identity": [who for who, *_ in pictures]}
        table["sex"] = ["FM".index(sex) for _, sex, _ in pictures]
        datasets.Dataset.from_dict(table, features=datasets.Features(features)).save_to_disk(root)
        return root, ()
    folder = root / "images_001" / "images" if form == "nih" else root
    folder.mkdir(parents=True, exist_ok=True)
    for n, (*_, pixels) in enumerate(pictures):
        Image.fromarray(pixels).save(folder / f"{n:02}.png")
    if form == "csv":
        lines = ["path,identity,sex", *(f"{n:02}.png,{who},{sex}" for n, (who, sex, _) in enumerate(pictures))]
        (root / "list.csv").write_text("\n".join(lines) + "\n")
        return root / "list.csv", ()
    lines = ["Image Index,Finding Labels,Patient ID,Patient Age,Patient Gender,View Position"]
    lines += [f"{n:02}.png,No Finding,{who[1:]},058,{sex},PA" for n, (who, sex, _) in enumerate(pictures)]
    (root / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n")
    return root, ("data.preset=nih_chestxray14",)


def ids_of(form):
    beside = {"dicom": "IM{:02}.dcm", "nih": "images_001/images/{:02}.png", "csv": "{:02}.png", "huggingface": "row {}"}
    return [beside[form].format(n + (form == "huggingface")) for n in range(PEOPLE * EACH)]


def nothing_left(out):
    work = out.parent / f".{out.name}.work"
    return not (work / "source").exists() and not (work / "images").exists()


@pytest.mark.parametrize("form", FORMS)
def test_condense(form, tmp_path):
    images, how = people(form, tmp_path / "in")
    out = tmp_path / "out"
    found = condense_images(str(images), SEX[form], out, (*CONDENSE, *how), Reporter())
    assert found == {"classes": 2, "pictures": 4, "from": 16}
    assert json.loads((out / "classes.json").read_text()) == {SEX[form]: ["F", "M"]}
    assert nothing_left(out)


@pytest.mark.parametrize("form", FORMS)
def test_classifier(form, tmp_path):
    images, how = people(form, tmp_path / "in")
    found = classifier_of_images(str(images), SEX[form], tmp_path / "out", (*CLASSIFIER, *how), Reporter())
    assert (found["classes"], found["people"], found["images"]) == (2, 8, 16)
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize("form", FORMS)
def test_votes(form, tmp_path):
    images, how = people(form, tmp_path / "in")
    lines = [
        "image,annotator,label",
        *(f"{name},a{a},{n // EACH % 2}" for n, name in enumerate(ids_of(form)) for a in range(3)),
    ]
    (tmp_path / "votes.csv").write_text("\n".join(lines) + "\n")
    given = ("labels.method=crowd_layer", *LABELS, *how)
    found = label_images(tmp_path / "votes.csv", str(images), tmp_path / "out", given, Reporter())
    assert found.labelled == found.images == 16
    assert pq.read_table(tmp_path / "out" / "labels.parquet")["image"].to_pylist() == ids_of(form)
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize("form", FORMS)
def test_gaps(form, tmp_path):
    images, how = people(form, tmp_path / "in")
    if form == "csv":
        lines = images.read_text().splitlines()
        images.write_text("\n".join([lines[0], *(line[: -1 if n % 4 == 3 else None] for n, line in enumerate(lines[1:]))]))
        found = fill_images(str(images), "sex", None, tmp_path / "out", (*FILL, *how), Reporter())
        assert (found.labelled, found.filled, found.split) == (12, 4, "person")
        assert pq.read_table(tmp_path / "out" / "labels.parquet")["image"].to_pylist() == ids_of(form)
        assert nothing_left(tmp_path / "out")
        return
    with refused_as("bad-column", f"'{SEX[form]}'"):
        fill_images(str(images), SEX[form], None, tmp_path / "out", (*FILL, *how), Reporter())
    assert not (tmp_path / ".out.work" / "source").exists()


class Attacked(Exception):
    """What an audit would attack."""


@pytest.fixture
def drawn(monkeypatch):
    """drawn(real, images, ...) -> the samples that `pd audit` would attack, and what it said."""

    def attacked(data, arms, *_, **__):
        raise Attacked(arms["synthetic"])

    def draw(real, images, *overrides, how=None):
        talk, said = reporter()
        with monkeypatch.context() as patch:
            patch.setattr("pd.stages.external.audit", attacked)
            with pytest.raises(Attacked) as found:
                audit_folders(str(real), str(images), None, overrides, talk, how)
        return found.value.args[0], said.getvalue()

    return draw


@pytest.mark.parametrize("form", FORMS)
def test_audit(form, drawn, tmp_path):
    real = small_people(tmp_path / "people")
    images, _ = people(form, tmp_path / "in")
    how = "nih_chestxray14" if form == "nih" else None
    samples, said = drawn(real, images, "data.columns.labels=[PatientSex]", how=how)
    assert samples.ids == ids_of(form)
    assert {f"{SEX[form]}=F", f"{SEX[form]}=M"} <= set(samples.labels)
    assert ("headers cannot tell" in said) == (form == "dicom")
    few, _ = drawn(real, images, "audit.samples=5", how=how)
    rows = np.sort(np.random.default_rng(7).permutation(16)[:5])
    assert few.ids == [ids_of(form)[row] for row in rows]


def test_labels_of_both_sides_are_called_alike(tmp_path):
    real, _ = people("csv", tmp_path / "real")
    images, _ = people("huggingface", tmp_path / "in")
    found = audit_folders(str(real), str(images), None, ("data.size=16", *QUICK), reporter()[0]).as_json()
    utility = found["arms"]["synthetic"]["utility"]
    assert {*utility["labels"], *utility["skipped"]} == {"sex=F", "sex=M"}


@pytest.mark.slow
@pytest.mark.parametrize("form", ["dicom", "csv"])
def test_filter(form, tmp_path):
    real = small_people(tmp_path / "people")
    images, _ = people(form, tmp_path / "in")
    quick = ("reid.steps=5", "reid.spaces=[]", "filter.families=[]")
    if form == "csv":  # bad ones are left out and named
        images.write_text(images.read_text() + "gone.png,x,F\n")
        with refused_as("bad-image", "1", "gone.png"):
            filter_folders(str(real), str(images), tmp_path / "out", quick, Reporter())
    talk, said = reporter()
    filter_folders(str(real), str(images), tmp_path / "out", (*quick, "data.on_bad_image=skip"), talk)
    assert sorted(pq.read_table(tmp_path / "out")["id"].to_pylist()) == ids_of(form)
    assert ("gone.png" in said.getvalue()) == (form == "csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out", "people"]


def test_a_bucket(s3, drawn, tmp_path, monkeypatch):
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PD_MIRROR", str(tmp_path / "mirror"))
    real = small_people(tmp_path / "people")
    for form in ("dicom", "csv"):
        images, how = people(form, tmp_path / f"every-{form}")
        s3.upload(tmp_path / f"every-{form}")
        there = f"s3://{BUCKET}/every-{form}" + ("/list.csv" if form == "csv" else "")
        mine, theirs = (condense_images(str(one), SEX[form], tmp_path / f"out-{form}", (*CONDENSE, *how), Reporter())
                        for one in (images, there))  # fmt: skip
        assert mine == theirs
        assert drawn(real, there)[0].ids == ids_of(form)
    assert list((tmp_path / "mirror").iterdir()) == []


def test_who_is_stopped_finds_what_was_read(tmp_path, monkeypatch):
    images, how = people("dicom", tmp_path / "in")
    told = (str(images), SEX["dicom"], tmp_path / "out", (*CONDENSE, *how), Reporter())

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pd.stages.condense_images.condensed", stopped)
        with pytest.raises(KeyboardInterrupt):
            condense_images(*told)
    assert (tmp_path / ".out.work" / "source").is_dir()
    monkeypatch.setattr("pd.dataset.readable.decoded_rows", stopped)
    condense_images(*told)
    assert nothing_left(tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("audit --real {real} --synthetic {list} --synthetic-as dicm", "no reader or preset is called 'dicm'"),
        ("audit --real {real} --synthetic {list} --synthetic-as celeba", "this is a file, not a folder"),
        ("audit configs/faces.yaml --synthetic-as dicom", "--synthetic-as goes with --synthetic"),
        ("audit --real {real} --synthetic {broken}", "{broken}: no column 'path' or 'image'"),
        ("condense --images {list} --label hat --out {out}", "no label 'hat'"),
        ("condense --images {scans} --label folder --out {out}", "1 bad images (1 not an image)"),
        ("condense --images {list} --label sex --out {out} --set data.preset=chexpert", "this is a file, not a folder"),
        ("classifier --images {list} --label sex --out {out} --set data.columns.identity=x", "no column 'x'"),
        ("condense --images {list} --label sex --out {out} --set data.reader=faces", "'faces' reads pd's own pictures"),
        ("labels --images {list} --labels hat --out {out}", "no column 'hat' beside the images"),
        ("labels --images {real} --labels x --out {out} --set data.reader=huggingface", "no data set in this folder"),
    ],
)
def test_bad_input_is_one_line(words, said, tmp_path):
    images, _ = people("csv", tmp_path / "in")
    scans, _ = people("dicom", tmp_path / "scans")
    (scans / "x.dcm").write_bytes(b"x")
    broken = tmp_path / "broken.csv"
    broken.write_text("a,b\n1,2\n")
    real = small_people(tmp_path / "people", people=6, each=1)
    names = {"real": real, "list": images, "out": tmp_path / "out", "scans": scans, "broken": broken}
    done = pd_here(*(word.format(**names) for word in words.split()))
    assert done.returncode == 2, done.stderr
    assert said.format(**names) in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / ".out.work" / "source").exists()
