import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from refusals import refused_as

from pd.dataset import synthetic
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset


def make(n: int) -> SyntheticDataset:
    rng = np.random.default_rng(n)
    return SyntheticDataset(
        ids=[f"{i:05d}" for i in range(n)],
        images=rng.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8),
        prompts=[f"prompt {i % 3}" for i in range(n)],
        labels={"glasses": np.array([1.0, 0.0, np.nan] * n)[:n]},
    )


def same(a: SyntheticDataset, b: SyntheticDataset) -> bool:
    return (
        a.ids == b.ids
        and a.prompts == b.prompts
        and np.array_equal(a.images, b.images)
        and a.labels.keys() == b.labels.keys()
        and all(np.array_equal(a.labels[k], b.labels[k], equal_nan=True) for k in a.labels)
    )


def test_written_in_shards_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "SHARD_ROWS", 4)
    data = make(10)
    data.write(tmp_path / "s")
    files = sorted((tmp_path / "s").iterdir())
    assert [file.name for file in files] == [f"part-0000{i}.parquet" for i in range(3)]
    assert same(SyntheticDataset.read(tmp_path / "s"), data)
    assert SyntheticDataset.read(files[1:2]).ids == data.ids[4:8]
    assert same(SyntheticDataset.read(files[:1]), data.first(4))


def test_first_is_all_when_there_are_fewer():
    assert len(make(3).first(9)) == 3
    assert make(3).first(2).labels["glasses"].tolist() == [1, 0]


def test_an_empty_set_can_be_written(tmp_path):
    make(0).write(tmp_path / "s")
    assert len(SyntheticDataset.read(tmp_path / "s")) == 0


def test_hugging_face_decodes_the_images(tmp_path):
    data = make(2)
    data.write(tmp_path / "s")
    features = datasets.Features.from_arrow_schema(pq.read_schema(tmp_path / "s" / "part-00000.parquet"))
    assert isinstance(features["image"], datasets.Image)
    assert features["label.glasses"].dtype == "float64"
    picture = features["image"].decode_example(pq.read_table(tmp_path / "s")["image"][1].as_py())
    assert np.array_equal(np.asarray(picture)[..., None], data.images[1])


def test_what_is_not_a_synthetic_set(tmp_path):
    with refused_as("no-images"):
        SyntheticDataset.read(tmp_path)
    pq.write_table(pa.table({"id": ["1"]}), tmp_path / "x.parquet")
    with refused_as("no-such-column", "'image'"):
        SyntheticDataset.read(tmp_path)


def test_private_and_synthetic_are_no_kin():
    assert not issubclass(SyntheticDataset, PrivateDataset)
    assert not issubclass(PrivateDataset, SyntheticDataset)
