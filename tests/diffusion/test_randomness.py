import numpy as np

from pd.diffusion.randomness import Purpose, stream


def first(seed: int, purpose: Purpose, index: int) -> tuple[float, ...]:
    return tuple(stream(seed, purpose, index).standard_normal(4))


def test_a_stream_is_a_function_of_its_arguments() -> None:
    assert first(7, Purpose.SAMPLE, 3) == first(7, Purpose.SAMPLE, 3)


def test_streams_differ_by_seed_purpose_and_index_beyond_32_bits() -> None:
    keys = [(seed, purpose, index) for seed in (0, 7, 7 + 2**32) for purpose in Purpose for index in (0, 7, 2**32, 2**32 + 7)]
    assert len({first(*key) for key in keys}) == len(keys)


def test_neighbouring_streams_are_uncorrelated() -> None:
    rows = np.stack([stream(1, Purpose.SAMPLE, index).standard_normal(4096) for index in range(8)])
    off_diagonal = np.corrcoef(rows) - np.eye(8)
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(4096)
