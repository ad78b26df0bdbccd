import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom.data
import pytest
from dicom_makers import encoded, made
from pydicom.uid import SecondaryCaptureImageStorage
from refusals import refused_as

from pd.config import ColumnSettings, DataSettings, DicomSettings
from pd.dataset.decoding import Good, decoded_rows
from pd.dataset.ingest import fingerprint, ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.readers.choose import open_source
from pd.dataset.readers.source import BadRow, Row
from pd.errors import UserError

FILES = Path(pydicom.data.__file__).parent / "test_files"


def picture(seed, **elements):
    return encoded(made(np.random.default_rng(seed).integers(0, 4096, (20, 20)), **elements))


def settings(path, **more):
    return DataSettings(reader="dicom", path=path, size=16, **more)


def write(root, name, data):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data)


def test_what_the_settings_name_and_nothing_else(tmp_path):
    for n in range(14):
        told = {
            "PatientID": f"00{n // 2}",
            "PatientSex": "F",
            "PatientAge": "045Y",
            "StudyDescription": "chest",
            "BodyPartThickness": "7.5",
        }
        write(tmp_path, f"set/a{n // 2}/IM{n}", picture(n, InstitutionName="General Hospital", **told))
    columns = ColumnSettings(caption="StudyDescription", labels=("PatientSex", "PatientAge", "BodyPartThickness"))
    source = open_source(settings(tmp_path / "set", columns=columns))
    row = next(iter(source.rows()))
    assert (row.identity, row.caption) == ("000", "chest")
    assert row.labels == {"PatientSex": "F", "PatientAge": 45, "BodyPartThickness": 7.5}
    assert source.labels == {"PatientSex": pa.string(), "PatientAge": pa.int64(), "BodyPartThickness": pa.float64()}
    report = ingest(settings(tmp_path / "set", columns=columns), 7, tmp_path / "out")
    assert sum(report.images.values()) == 14
    for file in (tmp_path / "out").iterdir():
        assert not any(word in file.read_bytes() for word in (b"Secret", b"General Hospital", b"IM13"))
    assert set(pq.read_schema(tmp_path / "out" / "part-00000.parquet").names) == {
        "id",
        "image",
        "identity",
        "split",
        "caption",
        "PatientSex",
        "PatientAge",
        "BodyPartThickness",
    }
    ingest(settings(tmp_path / "set"), 7, tmp_path / "bare")
    assert PrivateDataset.read(tmp_path / "bare").labels == {}


def test_what_is_left_out_is_counted(tmp_path):
    write(tmp_path, "a.dcm", picture(1))
    write(tmp_path, "screen.dcm", picture(2, SOPClassUID=SecondaryCaptureImageStorage))
    shutil.copy(FILES / "test-SR.dcm", tmp_path / "report.dcm")
    shutil.copy(FILES / "rtplan.dcm", tmp_path / "plan.dcm")
    shutil.copy(FILES / "waveform_ecg.dcm", tmp_path / "ecg.dcm")
    write(tmp_path, "notes.txt", b"hello")
    write(tmp_path, "broken.dcm", b"hello")
    source = open_source(settings(tmp_path))
    for _ in range(2):  # counted anew each time
        rows = list(source.rows())
    assert [row.name for row in rows if isinstance(row, Row)] == ["a.dcm"]
    assert [str(row) for row in rows if isinstance(row, BadRow)] == [
        "broken.dcm: not an image (not DICOM: no mark after the preamble)"
    ]
    assert source.left_out == {"secondary captures": 1, "reports": 1, "radiotherapy plans": 1, "waveforms": 1}
    assert source.ignored == {".txt": 1}
    read = open_source(settings(tmp_path, dicom=DicomSettings(secondary="read")))
    assert {"a.dcm", "screen.dcm"} == {row.name for row in read.rows() if isinstance(row, Row)}


def test_secondary_captures_alone_say_which_setting_takes_them(tmp_path):
    for n in range(3):
        write(tmp_path, f"{n}.dcm", picture(n, SOPClassUID=SecondaryCaptureImageStorage))
    shutil.copy(FILES / "test-SR.dcm", tmp_path / "report.dcm")
    with refused_as("no-images", "3", "1", "data.dicom.secondary"):
        ingest(settings(tmp_path), 7, tmp_path / "out")


def test_burned_in_text_is_refused(tmp_path):
    write(tmp_path, "a.dcm", picture(1, BurnedInAnnotation="YES"))
    write(tmp_path, "b.dcm", picture(2, BurnedInAnnotation="NO"))
    first, second = open_source(settings(tmp_path)).rows()
    assert (first.reason, second.name) == ("burned-in text", "b.dcm")
    kept = open_source(settings(tmp_path, dicom=DicomSettings(burned_in="keep")))
    assert all(isinstance(row, Row) for row in kept.rows())


def test_frames(tmp_path):
    write(tmp_path, "a.dcm", encoded(made(np.random.default_rng(0).integers(0, 4096, (5, 20, 20)))))

    def frames(how):
        where = settings(tmp_path, dicom=DicomSettings(frames=how))
        found = list(decoded_rows(open_source(where).rows(), where))
        assert all(isinstance(good, Good) for good in found)
        return [(good.row.name, good.digest) for good in found]

    every = frames("all")
    assert [name for name, _ in every] == [f"a.dcm#{n}" for n in range(5)]
    assert len({digest for _, digest in every}) == 5
    assert frames("first")[0][1] == every[0][1]
    assert frames("middle")[0][1] == every[2][1]


def test_files_of_pydicom(tmp_path):
    """Everything of its test files that is a picture comes through; nothing else does, and nothing raises."""
    where = settings(FILES, dicom=DicomSettings(secondary="read"), identity_from=r"^(.*)$")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = open_source(where)
        found = list(decoded_rows(source.rows(), where))
    good = {item.row.name for item in found if isinstance(item, Good)}
    bad = {item.name: item.reason for item in found if isinstance(item, BadRow)}
    assert {
        "CT_small.dcm",
        "MR_small.dcm",
        "examples_palette.dcm",
        "SC_rgb_jpeg.dcm",
        "JPGExtended.dcm",
        "image_dfl.dcm",
    } <= good
    assert len(good) >= 40
    assert bad["MR_truncated.dcm"] in ("truncated", "corrupt")
    assert {"waveforms", "radiotherapy plans", "reports"} <= set(source.left_out)


def test_fingerprint_follows_the_files(tmp_path):
    write(tmp_path, "a.dcm", picture(1))
    before = fingerprint(settings(tmp_path))
    assert fingerprint(settings(tmp_path)) == before
    write(tmp_path, "b.dcm", picture(2))
    assert fingerprint(settings(tmp_path)) != before


@pytest.mark.parametrize(
    ("columns", "message"),
    [({"labels": ("Sex",)}, "DICOM has no tag 'Sex'"), ({"labels": ("PixelData",)}, "neither text nor a number")],
)
def test_tags_that_will_not_do(columns, message, tmp_path):
    write(tmp_path, "a.dcm", picture(1))
    with pytest.raises(UserError, match=message):
        open_source(settings(tmp_path, columns=ColumnSettings(**columns)))


def test_wrong_places(tmp_path, monkeypatch):
    with refused_as("no-such-folder"):
        open_source(settings(tmp_path / "none"))
    with refused_as("no-images", "DICOM"):
        open_source(settings(tmp_path))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with refused_as("missing-package", "data.reader"):
        open_source(settings(tmp_path))


def test_links_that_lead_out(tmp_path):
    write(tmp_path, "secret.dcm", picture(1))
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.dcm").symlink_to(tmp_path / "secret.dcm")
    (row,) = open_source(settings(tmp_path / "set")).rows()
    assert row.reason == "outside the folder"
