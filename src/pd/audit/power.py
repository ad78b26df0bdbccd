"""Power: how large a leak an audit with these samples, people and attacker would have seen."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pd.audit.nearest import Nearest
from pd.audit.reidentification import Comparison, excess

POWER = 0.8
_RESAMPLES = 400
_HALVINGS = 8  # of the searched range: to 0.004
_UNLIKE = np.float32(-1e3)  # below every similarity


@dataclass(frozen=True)
class Power:
    """What could have been seen.

    Attributes:
        detectable: the smallest share of pictures of members among the samples that the audit finds (an interval of the excess
            that lies above 0) with 80 % probability; None where it would not find them if all were such.
        words: the same as a sentence.
    """

    detectable: float | None
    words: str

    @property
    def blind(self) -> bool:
        """Whether no leak would have been found."""
        return self.detectable is None


def power(compared: Comparison, pictures: npt.NDArray[np.float32], *, alpha: float, seed: int) -> Power:
    """Plant leaks of known size among the samples, after theirs is taken out, until the audit finds them.

    The bootstrap of a set with a leak says how the estimate scatters about its value; that the lower end of an interval
    is above 0 with 80 % probability is then read from the same draws. A planted sample resembles whom it resembled
    before, so that leaks are spread over people as the model spreads its samples, and resembles them as much as another real
    picture of theirs does: a leak of fainter likenesses must be larger to be seen.

    Args:
        compared: of the samples, by the attacker.
        pictures: (L,) float32, similarity of real pictures of members to their nearest other one in the member gallery.
        alpha: share of strangers that may pass.
        seed: of planting and resampling.
    """
    hits = excess(compared, alpha=alpha, bootstrap=1, seed=seed).hits
    rng = np.random.default_rng(seed)
    order, likeness = rng.permutation(len(hits)), rng.choice(pictures, len(hits))

    def seen(share: float) -> bool:
        planted = order[: round(share * len(order))]
        score = np.where(hits, _UNLIKE, compared.to_member.score)
        score[planted] = likeness[planted]
        with_leak = replace(compared, to_member=Nearest(score, compared.to_member.row))
        leak = excess(with_leak, alpha=alpha, bootstrap=_RESAMPLES, seed=seed)
        usual, low = np.quantile(leak.draws, [1 - POWER, 0.025])
        # An estimate e has its lower end about value - low below it: at the 20th percentile of estimates that is above 0.
        return bool(usual - (leak.excess.value - low) > 0)

    if not seen(1.0):
        return Power(
            None,
            "This audit could not have seen a leak, even if every sample were a picture of a member: "
            "its attackers recognise too few, or its people are too few for an interval above 0.",
        )
    below, above = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (below + above) / 2
        below, above = (below, middle) if seen(middle) else (middle, above)
    return Power(
        above,
        f"Had pictures of members been {100 * above:.1f} % of the samples or more, this audit would have found it "
        f"{100 * POWER:.0f} times in 100.",
    )
