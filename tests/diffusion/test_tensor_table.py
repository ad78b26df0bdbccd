from pathlib import Path

import numpy as np
import pyarrow as pa

from pd.diffusion.tensor_table import from_table, read_arrays, to_table, write_arrays


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "mean": rng.standard_normal((7, 2, 3, 4), dtype=np.float32),
        "row": rng.integers(0, 9, 7),
        "mirrored": rng.standard_normal((7, 4, 3))[:, ::-1],
    }


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and np.array_equal(one[name], other[name]) for name in one
    )


def test_arrays_come_back_from_a_table_also_cut_and_joined() -> None:
    given, table = arrays(), to_table(arrays())
    assert same(from_table(table), given)
    assert same(from_table(table.slice(2, 3)), {name: array[2:5] for name, array in given.items()})
    joined = pa.concat_tables([table.slice(4), table.slice(0, 4)])
    assert same(from_table(joined), {name: np.concatenate([array[4:], array[:4]]) for name, array in given.items()})
    assert from_table(table.slice(0, 0))["mean"].shape == (0, 2, 3, 4)


def test_files_hold_them_in_the_same_bytes_each_time(tmp_path: Path) -> None:
    size = write_arrays(tmp_path / "a.parquet", arrays())
    write_arrays(tmp_path / "b.parquet", arrays())
    data = (tmp_path / "a.parquet").read_bytes()
    assert len(data) == size
    assert data == (tmp_path / "b.parquet").read_bytes()
    assert same(read_arrays(tmp_path / "a.parquet"), arrays())
    assert list(read_arrays(tmp_path / "a.parquet", ["row"])) == ["row"]
