import numpy as np
import pytest

from pd.audit.adherence import adherence


def test_images_that_fit_their_prompts() -> None:
    rng = np.random.default_rng(0)
    texts = np.eye(3, 8, dtype=np.float32)
    asked = rng.integers(0, 3, 90)
    images = texts[asked] + 0.2 * rng.normal(size=(90, 8)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    found = adherence(images, texts, asked, bootstrap=200, seed=1)
    assert found.score.value == pytest.approx(float((images * texts[asked]).sum(axis=1).mean()))
    assert found.score.low < found.score.value < found.score.high
    assert found.above_other_prompts is not None
    assert found.above_other_prompts.low > 0.5
    shuffled = adherence(images, texts, rng.permutation(asked), bootstrap=200, seed=1)
    assert shuffled.above_other_prompts is not None
    assert shuffled.above_other_prompts.low < 0 < shuffled.above_other_prompts.high


def test_one_prompt_has_no_others() -> None:
    rows = np.eye(1, 4, dtype=np.float32)
    assert adherence(rows.repeat(5, axis=0), rows, np.zeros(5, np.int64), bootstrap=9, seed=0).above_other_prompts is None
