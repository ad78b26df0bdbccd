import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import refused_as

from pd.dataset.images import encode_png
from pd.dataset.parquet_images import ParquetImages
from pd.dataset.private import PrivateDataset
from pd.dataset.schema import IMAGE


def write(folder, people=8, **labels):
    identities = [f"p{i}" for i in range(people) for _ in range(2)]
    n = len(identities)
    images = [{"bytes": encode_png(np.full((4, 4, 1), i, np.uint8)), "path": f"{i}.png"} for i in range(n)]
    own = {
        "id": [f"{i:016x}" for i in range(n)],
        "image": pa.array(images, IMAGE),
        "identity": identities,
        "split": ["member" if int(name[1:]) < people // 2 else "holdout" for name in identities],
        "caption": [f"caption {i}" for i in range(n)],
    }
    table = pa.table(own | labels)
    folder.mkdir(exist_ok=True)
    pq.write_table(table.slice(0, 5), folder / "part-00000.parquet")
    pq.write_table(table.slice(5), folder / "part-00001.parquet")
    return PrivateDataset.read(folder)


def test_shards_are_read_in_order(tmp_path):
    data = write(tmp_path)
    assert len(data) == 16
    assert data.images[:, 0, 0, 0].tolist() == list(range(16))
    assert data.ids[5] == f"{5:016x}"
    assert data.captions[15] == "caption 15"


def test_members_and_holdout_part_everything(tmp_path):
    data = write(tmp_path, glasses=list(range(16)))
    members, held = data.members(), data.holdout()
    assert set(members.identities) == {"p0", "p1", "p2", "p3"}
    assert set(held.identities) == {"p4", "p5", "p6", "p7"}
    assert members.ids + held.ids == data.ids
    assert held.images[0, 0, 0, 0] == 8
    assert held.labels["glasses"].tolist() == list(range(8, 16))


def test_halves_never_share_a_person(tmp_path):
    data = write(tmp_path, people=18)
    for seed in range(5):
        halves = [set(data.holdout_half(role, seed).identities) for role in ("calibration", "audit")]
        assert not halves[0] & halves[1]
        assert halves[0] | halves[1] == set(data.holdout().identities)
        assert sorted(map(len, halves)) == [4, 5]
    assert data.holdout_half("audit", 1).ids != data.holdout_half("audit", 3).ids


def test_halves_need_four_people(tmp_path):
    data = write(tmp_path, people=6)
    with refused_as("too-few-people", "3"):
        data.holdout_half("audit", 1)


def test_labels_are_numbers(tmp_path):
    data = write(
        tmp_path,
        number=pa.array([None, *range(15)], pa.int32()),
        flag=[True, None] * 8,
        side=["left", "right", None, ""] * 4,
        note=[f"note {i}" for i in range(16)],
        void=pa.nulls(16),
        gap=pa.array([None] * 16, pa.float32()),
        day=pa.array([1] * 16, pa.date32()),
    )
    assert set(data.labels) == {"number", "flag", "side=left", "side=right"}
    assert all(values.dtype == np.float64 for values in data.labels.values())
    nan = np.nan
    assert np.array_equal(data.labels["number"][:3], [nan, 0, 1], equal_nan=True)
    assert np.array_equal(data.labels["flag"][:2], [1, nan], equal_nan=True)
    assert np.array_equal(data.labels["side=right"][:4], [0, 1, nan, nan], equal_nan=True)


def test_what_holdout_people_alone_have_makes_no_label(tmp_path):
    diagnosis = ["flu", "none"] * 4 + ["HIV", "flu"] * 4
    data = write(tmp_path, diagnosis=diagnosis, viral_load=pa.array([None] * 8 + list(range(8))))
    assert set(data.labels) == {"diagnosis=flu", "diagnosis=none"}
    assert data.labels["diagnosis=flu"][8:10].tolist() == [0, 1]
    assert data.holdout().texts["diagnosis"] == diagnosis[8:]


def test_a_mask_must_fit(tmp_path):
    with pytest.raises(ValueError, match="16 rows"):
        write(tmp_path).where([True])


def test_nothing_there(tmp_path):
    with refused_as("no-run"):
        PrivateDataset.read(tmp_path)


def test_many_pixels_stay_in_their_files(tmp_path, monkeypatch):
    held = write(tmp_path)
    assert isinstance(PrivateDataset.open(tmp_path).images, np.ndarray)
    monkeypatch.setattr("pd.dataset.private.BLOCK_BYTES", 16 * 16 - 1)
    data = PrivateDataset.open(tmp_path)
    assert isinstance(data.images, ParquetImages)
    for part, whole in ((data.members(), held.members()), (data.holdout_half("audit", 1), held.holdout_half("audit", 1))):
        assert isinstance(part.images, ParquetImages)
        assert part.ids == whole.ids
        assert np.array_equal(part.images[:], whole.images)
