import io
import json
import shutil
import subprocess
import tarfile

import numpy as np
import pydicom
import pytest
from PIL import Image
from refusals import refused_as

from pd.config import parse_settings
from pd.dataset.external import list_images, read_texts
from pd.dataset.synthetic import SyntheticDataset
from pd.release.formats.choose import WRITERS, check_formats
from pd.release.formats.rows import kept_rows
from pd.store.places import Place

N = 5


@pytest.fixture(scope="module", params=["grey", "rgb"])
def release(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    channels = 1 if request.param == "grey" else 3
    images = np.random.default_rng(0).integers(0, 256, (N, 24, 24, channels), dtype=np.uint8)
    labels = {"edema": np.array([1.0, 0.0, np.nan, 1.0, 0.0])}
    SyntheticDataset([f"s{n:08d}" for n in range(N)], images, ["a chest X-ray, \u00e9dema"] * N, labels).write(root / "data")
    for name, write in WRITERS.items():
        (root / name).mkdir()
        write(kept_rows(root / "data"), root / name)
    return root


@pytest.fixture
def copy(release, tmp_path):
    shutil.copytree(release, tmp_path / "release")
    return tmp_path / "release"


def test_clean(release):
    found = check_formats(release)
    assert found.ok, found.detail


def test_nothing_to_check(tmp_path):
    assert check_formats(tmp_path) is None


def test_dicom_is_marked_as_synthetic(release):
    rows = list(kept_rows(release / "data"))
    files = sorted((release / "dicom").iterdir())
    assert len(files) == N
    uids = set()
    for file, row in zip(files, rows, strict=True):
        found = pydicom.dcmread(file)
        with Image.open(io.BytesIO(row.png)) as picture:
            assert np.array_equal(found.pixel_array, np.asarray(picture))
        assert list(found.ImageType) == ["DERIVED", "SECONDARY"]
        assert found.PatientID.startswith("SYNTHETIC-")
        assert "generative model" in found.DerivationDescription
        assert found.ImageComments == row.prompt
        assert not any(element.VR in ("DA", "TM", "DT") and element.value for element in found.iterall())
        uids |= {found.StudyInstanceUID, found.SeriesInstanceUID, found.SOPInstanceUID}
    assert len(uids) == 3 * N


@pytest.mark.skipif(shutil.which("dcm2niix") is None, reason="needs dcm2niix")
def test_dcm2niix_reads_it(release, tmp_path):
    file = sorted((release / "dicom").iterdir())[0]
    (tmp_path / "in").mkdir()
    shutil.copy(file, tmp_path / "in")
    done = subprocess.run(["dcm2niix", "-o", tmp_path, tmp_path / "in"], capture_output=True, text=True, check=False)
    assert list(tmp_path.glob("*.nii*")), done.stdout


def test_imagefolder(release):
    lines = [json.loads(line) for line in (release / "imagefolder" / "metadata.jsonl").read_text().splitlines()]
    assert lines[0] == {"file_name": "s00000000.png", "prompt": "a chest X-ray, \u00e9dema", "label.edema": 1.0}
    assert "label.edema" not in lines[2]


def test_shards_are_read_back(release):
    place = Place.parse(str(release / "webdataset"))
    images = list_images(place)
    assert len(images) == N
    assert read_texts(place, images)[0] == ["a chest X-ray, \u00e9dema"] * N


def _more(path):
    (path / "imagefolder" / "real.png").write_bytes(b"x")


def _caption(path):
    lines = path / "imagefolder" / "metadata.jsonl"
    lines.write_text(lines.read_text().replace("chest", "Smith"))


def _tar(path):
    with tarfile.open(path / "webdataset" / "shard-00000.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("more.txt"))


def _lost(path):
    next((path / "dicom").iterdir()).unlink()


def _named(path):
    file = next((path / "dicom").iterdir())
    found = pydicom.dcmread(file)
    found.InstitutionName = "General Hospital"
    found.save_as(file)


def _preamble(path):
    file = next((path / "dicom").iterdir())
    file.write_bytes(b"Smith" + file.read_bytes()[5:])


def _behind(path):
    file = next((path / "dicom").iterdir())
    file.write_bytes(file.read_bytes() + b"\xfc\xff\xfc\xffOB\0\0\x06\0\0\0Smith ")


def _version(path):
    file = next((path / "dicom").iterdir())
    found = pydicom.dcmread(file)
    found.file_meta.SourceApplicationEntityTitle = "SMITH"
    found.save_as(file)


@pytest.mark.parametrize("change", [_more, _caption, _tar, _lost, _named, _preamble, _behind, _version])
def test_what_does_not_belong_there_is_found(copy, change):
    change(copy)
    assert not check_formats(copy).ok


def test_settings():
    assert parse_settings({"release": {"formats": ["parquet", "dicom"]}}).release.formats == ("parquet", "dicom")
    with refused_as("bad-value", "settings"):
        parse_settings({"release": {"formats": ["dicom"]}})
