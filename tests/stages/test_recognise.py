"""`pd recognise`: a network, how well it sees by view, and one line for people who cannot be used."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from refusals import refused_as
from typer.testing import CliRunner

from pd.audit.attackers.choose import attacker
from pd.audit.verification import verification
from pd.cli import app
from pd.config import DataSettings, Settings
from pd.dataset.images import encode_png
from pd.dataset.people import People, read_people
from pd.dataset.private import PrivateDataset
from pd.errors import UserError
from pd.formal.public import refuse_private
from pd.progress import Reporter
from pd.stages.public import public_people
from pd.stages.recognise import _test_data, read_figures, recognise

QUICK = ["reid.steps=4", "reid.identities_per_batch=4", "data.size=16", "reid.dim=16"]


def pictures(count: int, each: int, seed: int, side: int = 16):
    chance = np.random.default_rng(seed)
    for person in range(count):
        coarse = chance.uniform(0, 200, (4, 4))
        for number in range(each):
            image = np.kron(coarse, np.ones((side // 4, side // 4))) + chance.normal(20, 8, (side, side))
            yield person, number, np.clip(image, 0, 255).astype(np.uint8)


def folder(path, prefix: str, seed: int, count: int = 5):
    for person, number, image in pictures(count, 3, seed):
        (path / f"{prefix}{person}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path / f"{prefix}{person}" / f"{number}.png")
    return path


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    home = tmp_path_factory.mktemp("people")
    return folder(home / "ours", "a", 1), folder(home / "theirs", "b", 2)


def run(sets, out, *more, **named):
    return recognise(str(sets[0]), str(sets[1]), out, [*QUICK, *more], Reporter(), **named)


@pytest.mark.parametrize("method", ["supcon", "crrcd", "g2d"])
def test_a_network_and_its_figures_come_out(sets, tmp_path, method) -> None:
    found = run(sets, tmp_path / "out", f"reid.method={method}")
    out = tmp_path / "out"
    assert found.people == (5, 5)
    assert set(found.figures) >= {"clear", "8x8", "12x12", "half hidden", "masked", "blurred"}
    assert "16x16" not in found.figures  # the pictures have no more
    for figures in found.figures.values():
        assert set(figures) == {"auc", "rank1", "tpr"}
        assert all(one.low <= one.value <= one.high for one in figures.values())
    assert read_figures(out) == found.figures
    assert not list((tmp_path / ".out.work").glob("pixels-*"))  # pictures of people do not stay
    told = json.loads((out / "lineage.json").read_text())["methods"][0]
    assert told["method"]["name"] == method
    assert told.get("encoder") == ("the same people" if method == "g2d" else None)
    assert attacker(f"network:{out}").embed(np.zeros((2, 16, 16, 1), np.uint8)).shape == (2, 16)


def test_onnx_gives_what_the_network_gives(sets, tmp_path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    assert run(sets, tmp_path / "out").onnx
    images = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 1), dtype=np.uint8)
    ours, theirs = (attacker(f"{kind}:{tmp_path / 'out'}{file}") for kind, file in (("network", ""), ("onnx", "/model.onnx")))
    assert np.abs(ours.embed(images) - theirs.embed(images)).max() < 1e-4


def test_a_network_that_cannot_be_exported_is_kept_all_the_same(sets, tmp_path, monkeypatch) -> None:
    pytest.importorskip("onnx")

    def fails(network, given, file, **named):
        Path(file).write_bytes(b"half of it")
        raise RuntimeError("no such operator\nsecond line")

    monkeypatch.setattr("torch.onnx.export", fails)
    found = run(sets, tmp_path / "out", "reid.method=supcon")
    assert (found.onnx, found.why) == (False, "it cannot be exported: RuntimeError (no such operator)")
    assert not (tmp_path / "out" / "model.onnx").exists()
    assert (tmp_path / "out" / "model.safetensors").exists()


def test_classes_instead_of_people(tmp_path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = []
    for name, seed in (("train", 1), ("test", 2)):
        rows = []
        for person, number, image in pictures(4, 4, 1):
            noisy = np.clip(image.astype(int) + np.random.default_rng([seed, number]).normal(0, 6, image.shape), 0, 255)
            png = encode_png(noisy.astype(np.uint8)[..., None])
            rows.append({"image": {"bytes": png, "path": None}, "identity": f"{name}{person}{number}", "kind": f"k{person}"})
        files.append(tmp_path / f"{name}.parquet")
        pq.write_table(pa.Table.from_pylist(rows), files[-1])
    found = recognise(str(files[0]), str(files[1]), tmp_path / "out", [*QUICK, "reid.steps=30"], Reporter(), label="kind")
    assert set(found.figures["clear"]) == {"accuracy"}
    assert found.figures["clear"]["accuracy"].value > 0.6
    assert json.loads((tmp_path / "out" / "classes.json").read_text()) == ["k0", "k1", "k2", "k3"]
    with pytest.raises(UserError, match="no column 'knd'"):
        recognise(str(files[0]), str(files[1]), tmp_path / "other", QUICK, Reporter(), label="knd")


@pytest.mark.parametrize(
    ("more", "named", "says"),
    [
        (["reid.identities_per_batch=16"], {}, "5 people to learn from, and a batch takes 16"),
        (["reid.method={name: crrcd, views: [24x24]}"], {}, "'24x24' is above the pictures' 16x16"),
        (["reid.method=[crrcd, aird]"], {}, "several methods are named"),
        (["reid.networks=2"], {}, "reid.networks asks for 2"),
        ([], {"label": "kind", "adapt": 0.3}, "--adapt is for people"),
    ],
)
def test_what_cannot_be_is_one_line_before_the_work(sets, tmp_path, more, named, says) -> None:
    with pytest.raises(UserError, match=says):
        run(sets, tmp_path / "out", *more, **named)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / ".out.work").exists()


def table(path, rows):
    """A Parquet of pictures, each with further columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    drawn = [encode_png(image[..., None]) for _, _, image in pictures(len(rows), 1, len(rows))]
    pq.write_table(
        pa.Table.from_pylist([{"image": {"bytes": png, "path": None}, **row} for png, row in zip(drawn, rows, strict=True)]),
        path,
    )
    return DataSettings(reader="manifest", path=path, size=16)


def test_classes_need_no_people_and_blanks_are_no_class(tmp_path) -> None:
    words = read_people(table(tmp_path / "a.parquet", [{"model": one} for one in ("x", "", None, " y ", "x")]), "model")
    assert (words.identities, words.left_out) == (["x", "y", "x"], 2)
    gaps = read_people(table(tmp_path / "b.parquet", [{"model": one} for one in (1.0, float("nan"), None, 2.5, 2.0)]), "model")
    whole = read_people(table(tmp_path / "c.parquet", [{"model": one} for one in (1, 2, 2)]), "model")
    assert (gaps.identities, gaps.left_out) == (["1", "2.5", "2"], 2)
    assert (whole.identities, whole.left_out) == (["1", "2", "2"], 0)
    with pytest.raises(UserError, match="no column 'identity'"):
        read_people(table(tmp_path / "d.parquet", [{"model": 1}]))


def test_how_the_test_pictures_are_read(sets, tmp_path) -> None:
    guessed = DataSettings(preset="imagefolder", path=tmp_path)
    assert _test_data(guessed, str(sets[1]), []).preset is None
    given = DataSettings(reader="dicom", path=tmp_path, size=64)
    found = _test_data(given, str(sets[1]), ["data.reader=dicom"])
    assert (found.reader, found.size, found.path) == ("dicom", 64, sets[1])
    assert _test_data(given, str(sets[1]), ["data.size=64"]).reader == "folder"
    assert _test_data(guessed, str(sets[1]), ["data.preset=imagefolder"]).preset == "imagefolder"


def test_one_picture_of_each_person_is_refused_before_the_work(sets, tmp_path) -> None:
    for person, _, image in pictures(5, 1, 8):
        (tmp_path / "lone" / f"q{person}").mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "lone" / f"q{person}" / "0.png")
    with pytest.raises(UserError, match="--test: there is one picture of each person"):
        run((sets[0], tmp_path / "lone"), tmp_path / "out")
    assert not (tmp_path / ".out.work").exists()


def test_people_or_pictures_in_both_sets_are_refused(sets, tmp_path) -> None:
    with pytest.raises(UserError, match="15 pictures are in both sets"):
        run((sets[0], sets[0]), tmp_path / "out")
    again = folder(tmp_path / "again", "a", 9)
    with pytest.raises(UserError, match="5 people are in both sets"):
        run((sets[0], again), tmp_path / "out")


def test_a_set_of_several_sources_is_not_adapted_to(sets, tmp_path) -> None:
    from pd.config import ReidSettings
    from pd.stages.recognise import check_people

    names = [f"p{k // 2}" for k in range(8)]
    images = np.zeros((8, 16, 16, 1), np.uint8)
    ours = People(images, names, [""] * 8, [bytes([k]) for k in range(8)])
    mixed = People(images, [f"q{k // 2}" for k in range(8)], ["x", "y"] * 4, [bytes([k + 8]) for k in range(8)])
    settings = Settings(reid=ReidSettings(identities_per_batch=4))
    check_people(ours, mixed, settings, None, 0.0)
    with pytest.raises(UserError, match="takes a set of one source, and the column `source` names 2"):
        check_people(ours, mixed, settings, None, 0.3)


def test_verification_of_known_rows() -> None:
    # Two people on two axes: every pair of one person has cosine 1, every other 0.
    images = np.repeat(np.array([10, 200], np.uint8), 3)[:, None, None, None] * np.ones((1, 16, 16, 1), np.uint8)
    rows = {10: [1.0, 0.0], 200: [0.0, 1.0]}

    def embed(given):
        return np.array([rows[int(image[0, 0, 0])] for image in given], np.float32)

    found = verification(embed, images, ["a"] * 3 + ["b"] * 3, "clear", seed=1)
    assert {name: one.value for name, one in found.items()} == {"auc": 1.0, "rank1": 1.0, "tpr": 1.0}
    alike = np.full((6, 2), 2**-0.5, np.float32)
    same = verification(lambda given: alike[: len(given)], images, ["a"] * 3 + ["b"] * 3, "clear", seed=1)
    assert (same["auc"].value, same["tpr"].value) == (0.5, 0.0)
    assert found["auc"].above(same["auc"]).value == 0.5


def test_public_people_who_are_private_ones_are_refused(sets, tmp_path) -> None:
    drawn = list(pictures(5, 3, 1))
    images = np.stack([image for _, _, image in drawn])[..., None]
    names = [f"m{person}" for person, _, _ in drawn]
    real = PrivateDataset([str(k) for k in range(15)], images, names, ["member"] * 15, [""] * 15, {})

    def ask(path):
        return public_people(Settings.model_validate({"public": {"path": str(path)}, "data": {"size": 16}}), real)

    with pytest.raises(UserError, match="15 private pictures are among the public ones"):
        ask(sets[0])
    with pytest.raises(UserError, match="5 public people have names of private ones"):
        ask(folder(tmp_path / "named", "m", 3))
    near = tmp_path / "near"
    for person, number, image in drawn:
        (near / f"x{person}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(image.astype(int) + 3, 0, 255).astype(np.uint8)).save(near / f"x{person}" / f"{number}.png")
    with pytest.raises(UserError, match="public pictures are private ones, or nearly"):
        ask(near)
    mirrored = tmp_path / "mirrored"
    for person, number, image in drawn:
        (mirrored / f"x{person}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[:, ::-1]).save(mirrored / f"x{person}" / f"{number}.png")
    with pytest.raises(UserError, match="public pictures are private ones, or nearly"):
        ask(mirrored)
    turned = tmp_path / "turned"
    for person, number, image in drawn:
        (turned / f"x{person}").mkdir(parents=True, exist_ok=True)
        large = Image.fromarray(image).resize((64, 64), Image.Resampling.BICUBIC).rotate(10, Image.Resampling.BICUBIC)
        large.resize((16, 16), Image.Resampling.BICUBIC).save(turned / f"x{person}" / f"{number}.png")
    with refused_as("shared-images", "public.path") as refused:
        ask(turned)
    assert int(str(refused.value).split(": ")[1].split()[0]) >= 8  # of 15
    found = ask(folder(tmp_path / "others", "y", 77))
    assert found is not None
    assert len(found) == 15
    assert public_people(Settings(), real) is None


def test_copies_are_refused_where_private_pictures_are_under_two_names_each() -> None:
    images = np.stack([image for _, _, image in pictures(5, 3, 1)])[..., None]
    twice, names = np.concatenate([images, images]), [f"m{row}" for row in range(30)]
    with refused_as("shared-images", "15 of 15"):
        refuse_private(images, twice, names)
    refuse_private(np.stack([image for _, _, image in pictures(5, 3, 77)])[..., None], twice, names)


def test_the_command_shows_a_table(sets, tmp_path) -> None:
    words = ["recognise", "--train", str(sets[0]), "--test", str(sets[1]), "--out", str(tmp_path / "out"), "--method", "aird"]
    done = CliRunner().invoke(app, [*words, "--adapt", "0.3", *(word for one in QUICK for word in ("--set", one))])
    assert done.exit_code == 0, done.output
    assert "half hidden" in done.output
    assert "learned 5 people, looked for 5" in done.output
    assert "adapted by 0.3 to each set" in done.output
    assert json.loads((tmp_path / "out" / "lineage.json").read_text())["figures_adapted_by"] == 0.3
