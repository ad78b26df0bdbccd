"""The Python interface on real faces, in this process."""

from importlib.metadata import EntryPoint

import numpy as np
import pytest
from PIL import Image
from refusals import refused_as

import privacy_distillation as pdl
from pd.config import parse_settings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.errors import UserError

QUICK = {"reid.steps": 20, "filter.families": [], "reid.spaces": []}
ATTACK = {"audit.bootstrap": 50, "audit.attacker_steps": 5, "audit.samples": 60}


@pytest.fixture(scope="module")
def faces(tmp_path_factory):
    """The embedded faces of 40 people: (images, identities, splits)."""
    folder = tmp_path_factory.mktemp("faces")
    ingest(parse_settings({"data": {"reader": "faces", "size": 16}}).data, 3, folder)
    found = PrivateDataset.read(folder)
    return found.images, found.identities, found.splits


@pytest.fixture(scope="module")
def people(faces):
    images, identities, splits = faces
    return pdl.load_people(images, identities=identities, splits=splits, size=16)


def test_arrays_pil_images_and_a_folder_are_the_same_people(faces, people, tmp_path):
    images, identities, splits = faces
    pil = pdl.load_people([Image.fromarray(image[:, :, 0]) for image in images], identities=identities, splits=splits, size=16)
    for row, (image, name) in enumerate(zip(images, identities, strict=True)):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(image[:, :, 0]).save(tmp_path / name / f"{row:03d}.png")
    files = pdl.load_people(tmp_path, size=16)

    assert (pil.images[:] == people.images[:]).all()
    assert (pil.splits, pil.identities) == (people.splits, people.identities) == (list(splits), list(identities))
    assert sorted(files.identities) == sorted(identities)
    assert sorted(image.tobytes() for image in files.images) == sorted(image.tobytes() for image in images)


def test_a_dataset_is_read_by_its_columns(faces):
    datasets = pytest.importorskip("datasets")
    images, identities, splits = faces
    table = {"image": [Image.fromarray(image[:, :, 0]) for image in images], "who": identities, "side": splits}
    table["glasses"] = [row % 2 for row in range(len(images))]
    made = datasets.Dataset.from_dict(table)
    found = pdl.load_people(made, identities="who", splits="side", labels={"glasses": made["glasses"]}, size=16)
    assert found.identities == list(identities)
    assert found.labels["glasses"].tolist() == [float(row % 2) for row in range(len(images))]


def test_images_are_read_in_every_form(faces, tmp_path):
    for row in range(3):
        Image.fromarray(faces[0][row][:, :, 0]).save(tmp_path / f"{row}.png")
    table = tmp_path / "made.csv"
    table.write_text("file;prompt;glasses\n0.png;a face;1\n1.png;;0\n2.png;a hat;\n")
    found = pdl.load_images(table, size=16, settings={"columns": {"image": "file"}})
    assert (found.ids, found.prompts) == (["0.png", "1.png", "2.png"], ["a face", "", "a hat"])
    assert (found.images == faces[0][:3]).all()
    assert found.labels["glasses"][:2].tolist() == [1, 0]
    drawn = pdl.load_images(table, size=16, limit=2, seed=1, settings={"columns": {"image": "file"}})
    assert drawn.ids == pdl.load_images(tmp_path, size=16, limit=2, seed=1).ids
    with refused_as("no-such-column", "'path'", "'image'"):
        pdl.load_images(table, size=16)


def test_the_filter_drops_members_pictures_and_says_whose(people):
    members = people.members()
    chosen = pdl.fit_filter(people, settings=QUICK, progress=False)
    frame = chosen.scores(pdl.load_images(members.images[:20], size=16))
    assert not frame.keep.any()
    assert set(frame.reason) <= {"reid", "near_copy"}
    assert frame.near_copy_nearest.tolist() == members.ids[:20]
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16), dtype=np.uint8)
    assert chosen.scores(noise).keep.mean() > 0.5


def test_a_setting_of_the_filter_does_what_it_does_in_a_run_or_is_refused(people):
    chosen = pdl.fit_filter(people, settings={**QUICK, "filter.near_duplicate": 0.95}, progress=False)
    noise = np.random.default_rng(0).integers(0, 256, (20, 16, 16), dtype=np.uint8)
    frame = chosen.scores(np.concatenate([noise, noise ^ 1]))  # of each picture another one of nearly the same pixels
    assert frame.keep[:20].mean() > 0.5
    assert set(frame.reason[20:][frame.keep[:20].to_numpy()]) == {"duplicate"}
    with refused_as("bad-options", "filter.calibration"):
        pdl.fit_filter(people, settings={**QUICK, "filter.calibration": "leaks"}, progress=False)


def test_an_audit_finds_copies_and_shows_them(people, tmp_path):
    members = people.members()
    leaking = pdl.audit(people, members.images[:60], attackers=["thumbnails"], settings=ATTACK, progress=False)
    assert leaking.verdict.startswith("leak.")
    frame = leaking.to_frame()
    excess = frame[(frame.measure == "excess") & (frame.attacker == "")].iloc[0]
    assert excess.low > 0.5
    assert "leak." in leaking._repr_html_()
    leaking.plot().savefig(tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").size[0] > 300
    leaking.save(tmp_path / "audit.json")
    assert (tmp_path / "audit.json").stat().st_size > 1000


def test_images_are_drawn_from_all_of_them(people, monkeypatch):
    seen = {}

    def attack(data, arms, *others, **more):
        seen.update(arms)
        raise UserError("enough")

    monkeypatch.setattr("privacy_distillation.auditing.attack_arms", attack)
    images = pdl.load_images(people.images[:60], size=16)
    with pytest.raises(UserError, match="enough"):
        pdl.audit(people, images, settings={"audit.samples": 20}, progress=False)
    (samples,) = seen.values()
    assert len(samples) == 20
    assert not np.array_equal(samples.images[:], images.images[:20])


def test_people_whose_split_was_drawn_are_known_as_such(faces):
    images, identities, splits = faces
    drawn = pdl.load_people(images, identities=identities, size=16)
    assert drawn.split_drawn
    assert drawn.members().split_drawn
    assert not pdl.load_people(images, identities=identities, splits=splits, size=16).split_drawn


class Bright:
    """An attacker of a user's own: the mean brightness of 4 x 4 cells."""

    name = "bright"

    def fit(self, images, identities, *, seed, steps):
        assert steps == 5

    def embed(self, images):
        cells = images.reshape(len(images), 4, 4, 4, 4, -1).mean(axis=(2, 4, 5)).reshape(len(images), -1).astype(np.float32)
        cells -= cells.mean(axis=1, keepdims=True)
        return cells / np.maximum(np.linalg.norm(cells, axis=1, keepdims=True), 1e-6)


def test_attackers_of_ones_own_by_object_and_by_entry_point(people, monkeypatch):
    copies = people.members().images[:60]
    mine = pdl.audit(people, copies, attackers=[Bright(), "thumbnails"], settings=ATTACK, progress=False)
    assert "bright" in set(mine.to_frame().attacker)

    point = EntryPoint("bright", f"{__name__}:Bright", "privacy_distillation.attackers")
    monkeypatch.setattr(EntryPoint, "load", lambda self: Bright)
    monkeypatch.setattr("pd.audit.attackers.choose.entry_points", lambda group: [point])
    named = pdl.audit(people, copies, attackers=["bright", "thumbnails"], settings=ATTACK, progress=False)
    assert named.to_frame().equals(mine.to_frame())
    with pytest.raises(pdl.UserError, match="'bright' is no list"):
        pdl.audit(people, copies, attackers="bright", settings=ATTACK, progress=False)
    with pytest.raises(pdl.UserError, match=r"unknown attacker 'brigth'.*bright"):
        pdl.audit(people, copies, attackers=["brigth"], settings=ATTACK, progress=False)


PIXELS = np.zeros((4, 8, 8), np.uint8)


class NoName(Bright):
    name = ""


class OtherFit(Bright):
    def fit(self, images, identities):
        pass


class FewRows(Bright):
    name = "few"

    def embed(self, images):
        return super().embed(images)[:3]


class LongRows(Bright):
    name = "long"

    def embed(self, images):
        return 2 * super().embed(images)


class Fails(Bright):
    name = "fails"

    def embed(self, images):
        raise KeyError("the name of a person")


class Unlearned(Bright):
    name = "unlearned"

    def fit(self, images, identities, *, seed, steps):
        raise RuntimeError("the name of a person")


class OtherWidths(Bright):
    name = "widths"

    def __init__(self):
        self.calls = 0

    def embed(self, images):
        self.calls += 1
        return np.eye(8 + self.calls, dtype=np.float32)[np.zeros(len(images), int)]


@pytest.mark.parametrize(
    ("attacker", "said"),
    [
        (Fails(), "attacker 'fails': embed failed (KeyError)"),
        (Unlearned(), "attacker 'unlearned': fit failed (RuntimeError)"),
        (OtherWidths(), "attacker 'widths': embed gave float32 of shape"),
        (NoName(), "it has no name"),
        (Bright, "Bright()"),
        (OtherFit(), "'fit' cannot be called"),
        (FewRows(), "attacker 'few': embed gave float32 of shape (3, 16)"),
        (LongRows(), "attacker 'long': embed gave rows that are not of unit length"),
    ],
)
def test_an_attacker_that_does_not_fit_is_named(people, attacker, said):
    with pytest.raises(pdl.UserError) as error:
        pdl.audit(people, people.members().images[:60], attackers=[attacker], settings=ATTACK, progress=False)
    assert said in str(error.value)
    assert "the name of a person" not in str(error.value)


class Spoils(Bright):
    """Works on the pictures that it is given as if they were its own."""

    name = "altered copies"  # and bears the name of pd's own search

    def embed(self, images):
        found = super().embed(images)
        images[:] = 0
        return found


def test_an_attacker_that_spoils_its_pictures_or_bears_another_ones_name_changes_no_other_figure(people):
    copies = people.members().images[:60].copy()
    alone, beside = (
        pdl.audit(people, copies, attackers=attackers, settings=ATTACK, progress=False).arm
        for attackers in (["thumbnails"], [Spoils(), "thumbnails"])
    )
    assert set(beside.reid.by_attacker) == {"altered copies", "altered copies (2)", "thumbnails"}
    for name in ("altered copies", "thumbnails"):
        assert beside.reid.by_attacker[name].excess == alone.reid.by_attacker[name].excess
    assert beside.extraction == alone.extraction


def test_an_entry_point_that_cannot_be_loaded_is_one_line(people, monkeypatch):
    point = EntryPoint("absent", "no_such_package_here:Thing", "privacy_distillation.attackers")
    monkeypatch.setattr("pd.audit.attackers.choose.entry_points", lambda group: [point])
    with refused_as("bad-plug-in", "'absent'", "ModuleNotFoundError"):
        pdl.audit(people, people.members().images[:60], attackers=["absent"], settings=ATTACK, progress=False)


def test_nothing_private_is_shown_by_accident(people):
    assert repr(people) == "PrivateDataset(400 images of 20 members and 20 hold-out people)"
    assert repr(pdl.load_images(PIXELS, size=16)) == "SyntheticDataset(4 images, 16 x 16, grey)"


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: pdl.load_people(PIXELS, identities=["a", None, "b", "c"]), "identities, image 1: no identity"),
        (lambda: pdl.load_people(PIXELS, identities=["a", "b", float("nan"), "c"]), "identities, image 2: no identity"),
        (lambda: pdl.load_people(PIXELS, identities=list("abcd"), labels=[1, 2, 3, 4]), "labels have no names"),
        (
            lambda: pdl.load_people(
                np.arange(256, dtype=np.uint8).reshape(4, 8, 8), identities=list("abcd"), splits=["train"] * 4
            ),
            "image 0: unknown split 'train'",
        ),
        (
            lambda: pdl.load_people(
                np.arange(1024, dtype=np.int64).reshape(4, 16, 16).astype(np.uint8)
                // np.arange(1, 5, dtype=np.uint8)[:, None, None],
                identities=list("aaaa"),
                size=16,
            ),
            "load_people: one identity only",
        ),
        (lambda: pdl.load_images(None), "NoneType holds no images"),
        (lambda: pdl.load_images({"a": 1}), "dict holds no images"),
        (lambda: pdl.load_images(["a.png", "b.png"]), "a list of paths"),
        (lambda: pdl.load_images(PIXELS[0]), "one image"),
        (lambda: pdl.load_images(np.zeros((2, 3, 8, 8), np.uint8)), "channels do not come last"),
        (lambda: pdl.load_images(np.zeros((2, 8, 8), np.float32)), "multiply by 255"),
        (lambda: pdl.load_images([Image.fromarray(np.full((8, 8), 0.5, np.float32))]), "a PIL image of mode F"),
        (lambda: pdl.fit_filter(PIXELS, settings={"reid.stepz": 3}), "load_people"),
        (lambda: pdl.audit(PIXELS, PIXELS), "load_people"),
        (lambda: pdl.load_people(PIXELS), "who is in each image"),
        (lambda: pdl.load_people(np.zeros((4, 8, 8), np.uint8), identities=["a"]), "1 values for 4 images"),
        (lambda: pdl.load_people(np.zeros((4, 8, 8)), identities=list("abcd")), "uint8"),
        (lambda: pdl.load_people([], identities=[]), "no image"),
        (lambda: pdl.load_people("nowhere", identities=["a"]), "columns"),
        (lambda: pdl.load_images("nowhere-at-all"), "nowhere-at-all"),
        (lambda: pdl.fit_filter(np.zeros((4, 8, 8), np.uint8)), "load_people"),
        (lambda: pdl.distil({"nam": "x"}), "name"),
        (lambda: pdl.distil({"name": "x"}, {"teacher.step": 3}), "teacher.steps"),
    ],
)
def test_bad_input_is_one_line(call, said):
    with pytest.raises(pdl.UserError) as error:
        call()
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_preset_by_entry_point(faces, tmp_path, monkeypatch):
    from pd.dataset.readers.faces import faces as embedded

    point = EntryPoint("ours", "ours:read", "privacy_distillation.readers")
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda settings: embedded())
    monkeypatch.setattr("pd.config.sources.entry_points", lambda group: [point])
    monkeypatch.setattr("pd.dataset.readers.choose.entry_points", lambda group, name: [point])
    found = pdl.load_people(tmp_path, settings={"preset": "ours"}, size=16)
    assert len(found) == 400
    with refused_as("bad-value", "load_people"):
        pdl.load_people(tmp_path, settings={"preset": "other"})
