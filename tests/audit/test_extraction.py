"""Known truth: a model that repeats a picture of a member, one that repeats a stranger's, and one that repeats nothing."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from pd.audit.copies import copies_attack
from pd.audit.disclosure import extraction
from pd.audit.extraction import Extraction, extract, least
from pd.audit.subjects import Subjects
from pd.config import AuditSettings
from pd.dataset.images import Pixels
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset

SEED = 7


def noisy(images: Pixels, times: int, spread: float = 4) -> Pixels:
    copies = np.repeat(images, times, axis=0)
    return np.clip(copies + np.random.default_rng(0).normal(scale=spread, size=copies.shape), 0, 255).astype(np.uint8)


def found(orl: PrivateDataset, samples: Pixels, prompts: list[str] | None = None) -> Extraction:
    members, holdout = orl.members(), orl.holdout_half("audit", SEED)
    return extract(
        samples,
        prompts or [""] * len(samples),
        members.images,
        members.identities,
        holdout.images,
        holdout.identities,
        bootstrap=200,
        seed=1,
    )


def others(orl: PrivateDataset) -> Pixels:
    return orl.holdout_half("calibration", SEED).images


def test_a_memorised_picture_is_caught(orl: PrivateDataset) -> None:
    planted = noisy(orl.members().images[5:6], 30)
    samples = np.concatenate([others(orl), planted])
    extraction = found(orl, samples)
    assert extraction.images == 1
    assert extraction.extracted.value == pytest.approx(30 / 130)
    assert extraction.control.value < 0.02
    assert extraction.excess.value == pytest.approx(extraction.extracted.value, abs=0.02)
    assert extraction.extracted.n == 130
    # The same where each prompt has had only some of them, but not where each has had too few to be a lump.
    assert found(orl, samples, [f"{i % 3}" for i in range(130)]).images == 1
    assert found(orl, samples, [f"{i % 20}" for i in range(130)]).images == 0


def test_too_few_samples_of_each_prompt_are_no_all_clear(orl: PrivateDataset) -> None:
    planted = noisy(orl.members().images[5:6], 60)
    search = copies_attack(orl.members(), orl.holdout_half("audit", SEED), bootstrap=200, seed=1)(planted)
    for each, blind in ((60, False), (3, False), (2, True)):
        prompts = [f"{i // each}" for i in range(60)]
        samples = SyntheticDataset(list(map(str, range(60))), planted, prompts, {})
        figures = extraction(Subjects(orl, AuditSettings(bootstrap=200), SEED), samples, search)
        assert (figures.excess is None, figures.why is not None) == (blind, blind)
        assert figures.copies.excess.value > 0.9
        if not blind:
            assert figures.excess.value > 0.9
    assert "60 samples of 30 prompts" in figures.why


def test_a_memorised_stranger_is_the_controls(orl: PrivateDataset) -> None:
    extraction = found(orl, np.concatenate([others(orl), noisy(orl.holdout_half("audit", SEED).images[5:6], 30)]))
    assert (extraction.images, extraction.extracted.value) == (0, 0)
    # Each sample meets four hold-out people of ten.
    assert extraction.control.value == pytest.approx(0.4 * 30 / 130, abs=0.06)
    assert extraction.excess.low < extraction.excess.value < 0


def test_copies_that_nobody_repeats_are_not_extracted(orl: PrivateDataset) -> None:
    one_of_each = orl.members().images[::10]
    extraction = found(orl, np.concatenate([one_of_each, others(orl)[::10]]))
    assert (extraction.cliques, extraction.images, extraction.extracted.value) == (0, 0, 0)
    assert extraction.copies.excess.value == pytest.approx(20 / 30, abs=0.1)  # but they are copies
    assert extraction.copies.excess.low > 0.1


def test_repeating_somebody_else_is_no_leak(orl: PrivateDataset) -> None:
    extraction = found(orl, noisy(others(orl)[::10], 20))
    assert extraction.cliques == 10
    assert extraction.excess.low <= 0
    assert extraction.copies.excess.low <= 0


def test_blurred_and_pale_pictures_of_others_are_nobodys(orl: PrivateDataset) -> None:
    """They are nearer to every picture than sharp ones are, in pixels, and to each other: lumps that copy nobody.

    Whose pictures they come nearest to, by plain distance, is a matter of whose are palest: hold-out people's by 0.47 here.
    """
    images = others(orl).transpose(0, 3, 1, 2) / 255
    soft = gaussian_filter(images, (0, 0, 2, 2))
    pale = soft.mean(axis=(2, 3), keepdims=True) + 0.5 * (soft - soft.mean(axis=(2, 3), keepdims=True))
    extraction = found(orl, np.round(255 * pale).astype(np.uint8).transpose(0, 2, 3, 1))
    assert extraction.cliques >= 5
    for excess in (extraction.excess, extraction.copies.excess):
        assert abs(excess.value) < 0.25
        assert excess.low <= 0 <= excess.high


def test_a_cliques_size_follows_the_samples_of_a_prompt() -> None:
    assert [least(n) for n in (10, 150, 250, 500, 10_000)] == [3, 3, 5, 10, 10]
