import numpy as np
import pytest

from pd.diffusion.data import TrainingData


def test_rows_are_counted() -> None:
    assert len(TrainingData(np.zeros((3, 8, 8, 1), np.uint8), ["a", "b", "c"])) == 3


@pytest.mark.parametrize(
    ("images", "captions"),
    [
        (np.zeros((2, 8, 8, 1), np.uint8), ["a"]),
        (np.zeros((2, 8, 8, 1), np.float32), ["a", "b"]),
        (np.zeros((2, 8, 8), np.uint8), ["a", "b"]),
        (np.zeros((2, 3, 8, 8), np.uint8), ["a", "b"]),
    ],
)
def test_what_does_not_fit_is_refused(images: np.ndarray, captions: list[str]) -> None:
    with pytest.raises(ValueError, match="images"):
        TrainingData(images, captions)
