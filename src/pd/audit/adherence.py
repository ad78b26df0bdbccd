"""Prompt adherence: does a sample show what it was asked for, to CLIP's eyes?"""

import numpy as np
import numpy.typing as npt

from pd.audit.estimate import from_draws
from pd.audit.results import Adherence

Rows = npt.NDArray[np.float32]


def adherence(images: Rows, texts: Rows, asked: npt.NDArray[np.int64], *, bootstrap: int, seed: int) -> Adherence:
    """Agreement of images with their prompts, intervals over samples.

    `score` is the mean cosine of each image with its own prompt (CLIPScore of Hessel et al. 2021, arXiv 2104.08718, without its
    factor of 2.5); `above_other_prompts`, how far that lies above the mean cosine with the others, where there are any.

    Args:
        images: (N, d) unit rows.
        texts: (P, d) unit rows, one for each prompt.
        asked: (N,) int64, which prompt each image was made for.
        bootstrap: resamples.
        seed: of the resampling.
    """
    cosines = (images @ texts.T).astype(np.float64)
    own = cosines[np.arange(len(images)), asked]
    chosen = np.random.default_rng(seed).multinomial(len(own), np.full(len(own), 1 / len(own)), size=bootstrap) / len(own)
    score = from_draws(float(own.mean()), chosen @ own, len(own))
    if len(texts) < 2:
        return Adherence(score=score)
    above = own - (cosines.sum(axis=1) - own) / (len(texts) - 1)
    return Adherence(score=score, above_other_prompts=from_draws(float(above.mean()), chosen @ above, len(own)))
