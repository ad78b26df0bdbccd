"""A clean release passes; each planted leak is found by the check that is meant for it."""

import io
import json
import pickle
import shutil
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, PngImagePlugin
from refusals import refused_as
from releases import edit_json, private_dataset, write_model, write_private, write_release
from safetensors.numpy import load_file, save_file

from pd.config import ModelSettings
from pd.dataset.images import encode_png
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.release import lineage as weight_lineage
from pd.release.labels import NAME as LABELS
from pd.release.rare_words import NAME as WORDS
from pd.release.sums import WHOLE, write_sums
from pd.release.verify import BYTES, CAPTIONS, NAMES, PIXELS, REID, verify
from pd.report.public import public_audit

LINEAGE, PUBLIC = weight_lineage.NAME, weight_lineage.PUBLIC
EXPECTED = "only files that belong in a release"
PICKLED = "weights are safetensors, nothing is pickled"
KIND = "every file is what its name says"
PROMPT = "a photo of a face"


@pytest.fixture(scope="module")
def dataset(faces, captions):
    return private_dataset(faces, captions)


@pytest.fixture(scope="module")
def kept(dataset):
    """Pictures of nobody: averages of 12 people, noisy."""
    rng = np.random.default_rng(3)
    mixes = [dataset.images[rng.choice(400, 12, replace=False)].mean(0) for _ in range(24)]
    return (np.stack(mixes) + rng.normal(0, 12, (24, *dataset.images.shape[1:]))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def original(tmp_path_factory, kept, whole_data):
    folder = tmp_path_factory.mktemp("verify") / "release"
    write_release(folder, kept, [PROMPT, "a photo of a face with glasses"] * 12, public_audit(whole_data.audit))
    return folder


@pytest.fixture
def release(original, tmp_path):
    return shutil.copytree(original, tmp_path / "release")


@pytest.fixture(scope="module")
def margin(dataset):
    """Likeness to the members and their mirror images, by thumbnails, above 0.97."""
    members = dataset.members().images

    def likeness(images):
        def rows(array):
            flat = np.stack([np.asarray(Image.fromarray(a[..., 0]).resize((16, 16)), np.float32).ravel() for a in array])
            flat -= flat.mean(1, keepdims=True)
            return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

        gallery = rows(members)
        return np.maximum((rows(images) @ gallery.T).max(1), (rows(images[:, :, ::-1]) @ gallery.T).max(1)) - 0.97

    return likeness


@pytest.fixture
def check(release, dataset, margin):
    """Verify, and tell the names of checks that failed."""

    def run(**options):
        report = verify(release, dataset, **{"margin": margin, "bundled": (), **options})
        return {each.name for each in report.failed}

    return run


def replant(release, image, place=5, prompt=None):
    """Write the data anew with an image planted, and a lineage that fits, so that it does not give the image away."""
    data = SyntheticDataset.read(release / "data")
    data.images[place] = image
    if prompt:
        data.prompts[place] = prompt
    data.write(release / "data")
    weight_lineage.write_lineage(release / "model", ModelSettings(autoencoder="train"), release / "data")


def test_a_clean_release_passes(release, dataset, margin):
    write_sums(release)
    report = verify(release, dataset, margin=margin, bundled=())
    assert report.ok, report.failed
    assert not report.skipped
    assert len(report.checks) == 16


def test_what_was_not_given_is_not_called_checked(release):
    report = verify(release, bundled=())
    assert report.ok, report.failed
    assert {each.name for each in report.skipped} == {WHOLE, BYTES, PIXELS, REID, CAPTIONS, NAMES, LABELS, WORDS}


def test_an_empty_folder_does_not_pass(tmp_path):
    failed = {each.name for each in verify(tmp_path, bundled=()).failed}
    assert {"the release is complete", LINEAGE} <= failed


def test_a_folder_without_a_private_data_set_is_a_mistake(release, tmp_path):
    (tmp_path / "empty").mkdir()
    with refused_as("no-run"):
        verify(release, tmp_path / "empty", bundled=())


@pytest.mark.parametrize("row", [0, 399], ids=["member", "stranger"])
def test_a_planted_real_image(release, check, dataset, row):
    replant(release, dataset.images[row])
    expected = {BYTES, PIXELS} | ({REID} if row == 0 else set())
    assert expected <= check() <= {BYTES, PIXELS, REID}


def test_a_mirrored_real_image(release, check, dataset):
    replant(release, dataset.images[7][:, ::-1])
    assert check() == {PIXELS, REID}


@pytest.mark.parametrize("mirror", [False, True])
def test_a_real_image_with_a_little_noise(release, check, dataset, mirror):
    noise = np.random.default_rng(0).integers(-2, 3, dataset.images[9].shape)
    image = (dataset.images[9].astype(int) + noise).clip(0, 255).astype(np.uint8)
    replant(release, image[:, ::-1] if mirror else image)
    assert check(margin=None) == {PIXELS}


def test_a_real_image_too_blurred_for_pixels(release, check, dataset):
    small = Image.fromarray(dataset.images[9][..., 0]).resize((20, 20))
    replant(release, np.asarray(small.resize((48, 48)))[..., None])
    assert check() == {REID}


def test_a_score_that_is_no_number_proves_nothing(check):
    assert check(margin=lambda images: np.full(len(images), np.nan, np.float32)) == {REID}


def test_figures_of_single_people_are_found(release, check, whole_data):
    (release / "audit.json").write_text(json.dumps(whole_data.audit.as_json()))
    assert check() == {NAMES}


@pytest.mark.parametrize(
    ("planted", "found"), [('<p title="s12">x</p>', {NAMES}), ("<p>s12</p>", {NAMES}), ("<script>x()</script>", {KIND})]
)
def test_the_page_names_nobody_and_runs_nothing(release, check, planted, found):
    page = release / "report.html"
    page.write_text(page.read_text().replace("</main>", f"{planted}</main>"))
    assert check() == found


def test_the_bytes_of_the_private_folder_count(release, dataset, tmp_path):
    write_private(dataset.where(np.arange(400) < 20), tmp_path / "dataset")
    replant(release, dataset.images[4])
    assert {BYTES, PIXELS} <= {each.name for each in verify(release, tmp_path / "dataset", bundled=()).failed}


def test_a_real_image_as_a_file_of_another_size(release, check, dataset):
    big = Image.fromarray(dataset.images[4][..., 0]).resize((96, 96), Image.Resampling.LANCZOS)
    wide = Image.new("L", (120, 96))
    wide.paste(big, (12, 0))
    wide.save(release / "example.jpg", quality=97)
    assert {EXPECTED, PIXELS, REID} <= check()


def test_a_real_image_in_another_column(release, check, dataset):
    path = next((release / "data").glob("*.parquet"))
    table = pq.read_table(path)
    hidden = pa.array([encode_png(dataset.images[0])] * len(table), pa.binary())
    pq.write_table(table.append_column("extra", hidden), path)
    assert {"the data are plain tables", BYTES, PIXELS, REID, LINEAGE} <= check()


@pytest.mark.parametrize("hide", ["text", "tail"])
def test_an_image_that_carries_more_than_pixels(release, check, kept, hide):
    path = next((release / "data").glob("*.parquet"))
    out, info = io.BytesIO(), PngImagePlugin.PngInfo()
    if hide == "text":
        info.add_text("source", "ward 7")
    Image.fromarray(kept[0][..., 0]).save(out, "PNG", pnginfo=info)
    data = out.getvalue() + (b"ward 7" if hide == "tail" else b"")
    table = pq.read_table(path)
    rows = table["image"].to_pylist()
    rows[0]["bytes"] = data
    pq.write_table(table.set_column(1, table.schema.field("image"), pa.array(rows, table.schema.field("image").type)), path)
    assert "the images are plain PNG" in check()


def test_a_caption_of_few_people(release, check, dataset):
    members = dataset.members()
    people = {
        text: {p for p, t in zip(members.identities, members.captions, strict=True) if t == text} for text in members.captions
    }
    rare = next(text for text, who in people.items() if len(who) < 3)
    assert len(people[PROMPT]) >= 3
    with (release / "README.md").open("a") as file:
        file.write(f"\nOne sample: {rare}.\n")
    assert check() == {CAPTIONS}
    shutil.copy(release / "audit.json", release / "README.md")
    assert check() == set()
    replant(release, SyntheticDataset.read(release / "data").images[0], prompt=rare)
    assert check() == {CAPTIONS}


def test_faults_are_told_without_captions(release, dataset):
    secret = PrivateDataset(["f" * 16], dataset.images[:1], ["anna"], ["member"], ["anna with a scar"], {})
    edit_json(release / "audit.json", lambda audit: audit.update(note="Anna with a scar", nearest="f" * 16))
    report = verify(release, secret, bundled=())
    assert {each.name for each in report.failed} == {CAPTIONS, NAMES, LABELS, WORDS}
    assert not any("scar" in each.detail for each in report.checks)


@pytest.mark.parametrize("name", ["model/unet/diffusion_pytorch_model.bin", "optimizer.pt", "data/x.pkl"])
def test_a_pickle_by_name(release, check, name):
    (release / name).write_bytes(pickle.dumps({"a": 1}))
    assert {EXPECTED, PICKLED} <= check()


@pytest.mark.parametrize("name", ["model/vae/config.json", "README.md", "data/part-00009.parquet"])
def test_a_pickle_under_another_name(release, check, name):
    (release / name).write_bytes(pickle.dumps({"a": 1}))
    assert {PICKLED, KIND} <= check()


def test_a_torch_archive_as_safetensors(release, check):
    with zipfile.ZipFile(release / "model/unet/diffusion_pytorch_model.safetensors", "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps([1]))
    assert {PICKLED, KIND, LINEAGE} <= check()


def test_safetensors_that_carry_something_else(release, check):
    path = release / "model/unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    save_file(tensors, path, metadata={"format": "pt", "note": "hello"})
    weight_lineage.write_lineage(release / "model", ModelSettings(autoencoder="train"), release / "data")
    assert check() >= {KIND}
    save_file(tensors, path, metadata={"format": "pt"})
    weight_lineage.write_lineage(release / "model", ModelSettings(autoencoder="train"), release / "data")
    assert check() == set()
    path.write_bytes(path.read_bytes() + b"tail")
    assert KIND in check()


@pytest.mark.parametrize(
    "name", ["notes.txt", ".cache", "model/teacher.safetensors", "model/unet/extra.json", "data/a/b.parquet"]
)
def test_a_file_that_does_not_belong(release, check, name):
    (release / name).parent.mkdir(exist_ok=True)
    (release / name).write_text("{}")
    assert EXPECTED in check()


def test_a_link_out_of_the_release(release, check, tmp_path):
    (tmp_path / "private.json").write_text("{}")
    (release / "audit.json").unlink()
    (release / "audit.json").symlink_to(tmp_path / "private.json")
    assert EXPECTED in check()


def test_an_image_inside_a_text(release, check, kept):
    import base64

    data = base64.b64encode(encode_png(kept[0])).decode()
    with (release / "README.md").open("a") as file:
        file.write(f"![](data:image/png;base64,{data})")
    assert check() == {KIND}


def test_weights_that_are_not_those_recorded(release, check):
    path = release / "model/unet/diffusion_pytorch_model.safetensors"
    save_file({name: value + 1 for name, value in load_file(path).items()}, path, metadata={"format": "pt"})
    assert check() == {LINEAGE}


def test_other_data_than_the_student_learned_from(release, check, kept):
    SyntheticDataset([f"n{i}" for i in range(3)], kept[:3], [PROMPT] * 3, {}).write(release / "data")
    assert check() == {LINEAGE}


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines["unet"].update(trained_on="private images"),
        lambda lines: lines["unet"].update(trained_on=PUBLIC),
        lambda lines: lines["unet"].update({"from": "/somewhere/private/teacher"}),
        lambda lines: lines["vae"].update(
            {"from": "bundled autoencoder 0123456789abcdef", "trained_on": weight_lineage.PUBLIC}
        ),
        lambda lines: lines.pop("text_encoder"),
        lambda lines: lines.update(other={}),
        lambda lines: lines.update(vae=None),
    ],
)
def test_lineage_that_reaches_elsewhere(release, check, change):
    edit_json(release / "model/lineage.json", change)
    assert check() == {LINEAGE}


def test_the_teachers_weights(release, check, tmp_path):
    write_model(tmp_path / "teacher", 2, ModelSettings(autoencoder="train"), release / "data")
    assert check(teacher=tmp_path / "teacher") == set()
    name = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(tmp_path / "teacher" / name, release / "model" / name)
    weight_lineage.write_lineage(release / "model", ModelSettings(autoencoder="train"), release / "data")
    assert check(teacher=tmp_path / "teacher") == {LINEAGE}


def test_a_student_fine_tuned_from_the_teacher(release, check, tmp_path):
    write_model(tmp_path / "teacher", 2, ModelSettings(autoencoder="train"), release / "data")
    settings = ModelSettings(base=str(tmp_path / "teacher"), autoencoder="train")
    weight_lineage.write_lineage(release / "model", settings, release / "data")
    assert str(tmp_path) not in (release / "model/lineage.json").read_text()
    assert check(teacher=tmp_path / "teacher") == {LINEAGE}


def test_the_bundled_autoencoder_is_known_by_its_tensors(release, check):
    weight_lineage.write_lineage(release / "model", ModelSettings(autoencoder="bundled"), release / "data")
    digest = weight_lineage.tensor_digest(release / "model/vae")
    assert json.loads((release / "model/lineage.json").read_text())["vae"]["from"] == f"bundled autoencoder {digest}"
    assert check(bundled={digest}) == set()
    assert check(bundled={"0" * 16}) == {LINEAGE}


def test_a_part_that_was_frozen_is_the_public_bases(release, check, tmp_path):
    write_model(tmp_path / "teacher", 2, ModelSettings(autoencoder="train"), release / "data")
    frozen = ModelSettings(base="some/base", autoencoder="train", train_unet="frozen", train_text_encoder="lora")
    weight_lineage.write_lineage(release / "model", frozen, release / "data")
    lines = json.loads((release / "model/lineage.json").read_text())
    assert (lines["unet"]["trained_on"], lines["text_encoder"]["trained_on"]) == (PUBLIC, weight_lineage.KEPT)
    assert check(teacher=tmp_path / "teacher") == set()
    name = "unet/diffusion_pytorch_model.safetensors"
    shutil.copy(tmp_path / "teacher" / name, release / "model" / name)
    weight_lineage.write_lineage(release / "model", frozen, release / "data")
    assert check(teacher=tmp_path / "teacher") == {LINEAGE}


def condensed(release, pictures, told=True):
    """Put condensed pictures of two parts a side into a release."""
    names = [f"condensed-{row:06d}" for row in range(len(pictures))]
    SyntheticDataset(names, pictures, [PROMPT] * len(pictures), {}).write(release / "condensed" / "data")
    parts = ["student", "data", "condensed set"] if told else ["student", "data"]
    (release / "contents.json").write_text(json.dumps({"released": parts, "data": "kept", "factor": 2}))


def test_condensed_pictures_are_part_of_the_proof(release, dataset, kept, check):
    condensed(release, kept[:4])
    assert check() == set()
    condensed(release, kept[:4], told=False)
    assert check() == {"the release is complete"}


def test_a_person_in_a_part_of_a_condensed_picture_is_found(release, dataset, check):
    small = dataset.members().images[[3, 50, 90, 130], ::2, ::2]
    rows = [np.concatenate(list(small[at : at + 2]), axis=1) for at in (0, 2)]
    condensed(release, np.concatenate(rows)[None])
    assert REID in check()
