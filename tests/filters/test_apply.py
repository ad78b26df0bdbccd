import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from refusals import refused_as

from pd.config import FilterSettings
from pd.dataset.synthetic import SyntheticDataset
from pd.filters.apply import DECIDED, apply_filter
from pd.filters.decide import Thresholds
from pd.filters.duplicate import SKETCH
from pd.filters.scorer import Scores
from pd.filters.table import scored_table
from pd.progress import silent

T = Thresholds(reid=0.5, near_copy=0.8)


@pytest.fixture
def generated(tmp_path):
    """Three shards of four candidates; the ninth repeats the pixels of the second."""
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    images[8] = images[1]
    score = np.zeros(12, np.float32)
    score[3] = 0.7
    near = np.zeros(12, np.float32)
    near[[3, 6]] = 0.9
    sketch = np.random.default_rng(1).integers(-127, 128, (12, SKETCH), dtype=np.int8)
    sketch[[5, 7]] = sketch[[0, 3]]
    sketch[5, :3] //= 2  # nearly the first one's; the eighth has that of the fourth, which is dropped
    folder = tmp_path / "generated"
    folder.mkdir()
    for shard in range(3):
        rows = slice(4 * shard, 4 * shard + 4)
        scores = Scores(score[rows], ["real"] * 4, near[rows], ["real"] * 4, np.zeros((4, 0), np.float32), sketch[rows], {})
        table = scored_table(
            [f"{i:09d}" for i in range(12)[rows]],
            images[rows],
            scores,
            seed=5,
            prompts=["a face", "a face", "rare", "a face"] if shard == 2 else ["a face"] * 4,
            labels={"beard": [0.0, 1.0, None, 0.0]},
        )
        pq.write_table(table, folder / f"part-{shard:05d}.parquet")
    return folder


def _apply(generated, out, **changes):
    options = {"prompts": ["a face"], "kept": None, "progress": silent} | changes
    settings = options.pop("settings", FilterSettings())
    return apply_filter(generated, out, options.pop("thresholds", T), settings, **options)


def test_decisions_counts_and_columns(generated, tmp_path):
    seen = []
    counts = _apply(generated, tmp_path / "out", progress=lambda done, total, info: seen.append((done, total)))
    assert counts == {
        "candidates": 12,
        "kept": 8,
        "threshold": 0.5,
        "dropped": {"prompt": 1, "reid": 1, "near_copy": 1, "duplicate": 1},
    }
    assert seen == [(1, 3), (2, 3), (3, 3)]
    table = pa.concat_tables([pq.read_table(file) for file in sorted((tmp_path / "out").glob("*.parquet"))])
    assert table.column_names == [*DECIDED, "label.beard"]
    assert dict(zip(table["id"].to_pylist(), table["reason"].to_pylist(), strict=True)) == {
        f"{i:09d}": {3: "reid", 6: "near_copy", 8: "duplicate", 10: "prompt"}.get(i, "") for i in range(12)
    }
    assert [reason == "" for reason in table["reason"].to_pylist()] == table["keep"].to_pylist()


def test_the_kept_set_says_nothing_of_scores(generated, tmp_path):
    _apply(generated, tmp_path / "out", kept=tmp_path / "kept")
    files = sorted((tmp_path / "kept").glob("*.parquet"))
    assert pq.read_schema(files[0]).names == ["id", "image", "prompt", "label.beard"]
    data = SyntheticDataset.read(tmp_path / "kept")
    assert data.ids == [f"{i:09d}" for i in (0, 1, 2, 4, 5, 7, 9, 11)]
    assert set(data.prompts) == {"a face"}
    assert data.images.shape == (8, 8, 8, 1)
    np.testing.assert_array_equal(data.labels["beard"], [0, 1, np.nan, 0, 1, 0, 1, 0])
    assert b"real" not in files[0].read_bytes()


def test_a_new_threshold_needs_no_generation(generated, tmp_path):
    strict = _apply(generated, tmp_path / "out", thresholds=Thresholds(-1.0, -1.0))
    assert strict["kept"] == 0
    loose = _apply(generated, tmp_path / "out", settings=FilterSettings(reid=False, near_copy=False, duplicate=False))
    assert loose["kept"] == 11
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "out"]


def test_near_duplicates_of_what_stays_go(generated, tmp_path):
    settings = FilterSettings(near_duplicate=0.95)
    counts = _apply(generated, tmp_path / "out", settings=settings, kept=tmp_path / "kept")
    assert counts["dropped"] == {"prompt": 1, "reid": 1, "near_copy": 1, "duplicate": 2}
    # The sixth repeats the first. The eighth repeats the fourth, which went for another reason.
    assert SyntheticDataset.read(tmp_path / "kept").ids == [f"{i:09d}" for i in (0, 1, 2, 4, 7, 9, 11)]


def test_near_duplicates_go_without_the_check_for_the_same_pixels(generated, tmp_path):
    alone = _apply(generated, tmp_path / "out", settings=FilterSettings(near_duplicate=0.95, duplicate=False))
    assert alone["dropped"]["duplicate"] == 1  # the sixth; the ninth has the pixels of the second, but not its sketch


def test_nothing_kept_is_still_a_set(generated, tmp_path):
    _apply(generated, tmp_path / "out", thresholds=Thresholds(-1.0, -1.0), kept=tmp_path / "kept")
    assert len(SyntheticDataset.read(tmp_path / "kept")) == 0


def test_images_from_elsewhere_have_no_prompts_to_check(generated, tmp_path):
    assert _apply(generated, tmp_path / "out", prompts=None)["dropped"]["prompt"] == 0


def test_missing_or_foreign_shards_are_named(generated, tmp_path):
    (tmp_path / "empty").mkdir()
    with refused_as("no-images"):
        _apply(tmp_path / "empty", tmp_path / "out")
    pq.write_table(pa.table({"id": ["x"]}), generated / "part-00001.parquet")
    with refused_as("no-such-column", "'seed'"):
        _apply(generated, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_kept_shards_roll_over(generated, tmp_path, monkeypatch):
    monkeypatch.setattr("pd.filters.apply.KEPT_SHARD", 3)
    _apply(generated, tmp_path / "out", kept=tmp_path / "kept")
    sizes = [pq.read_metadata(file).num_rows for file in sorted((tmp_path / "kept").glob("*.parquet"))]
    assert sizes == [3, 3, 2]
    assert SyntheticDataset.read(tmp_path / "kept").ids[-1] == "000000011"
