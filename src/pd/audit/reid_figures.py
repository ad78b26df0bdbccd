"""Excess re-identification as the JSON of `audit.json`: the worst attacker that had no vote in the filter is the headline.

A filter looks safe by construction to attackers of the families that voted in it, so these are marked and shown beside. Where
all of them voted, the worst of all is the headline.

The largest of several estimates is too large on average, so that the headline's value is corrected by what the bootstrap says
of that. Its interval begins where the highest of all attackers' lower ends is, each at a confidence that allows for how many
they are (Bonferroni), and ends where the highest of all upper ends is: whichever attacker truly finds most, its own interval
ends no higher than that. The search for altered copies counts there only where it finds some.
"""

from collections.abc import Collection, Mapping

import numpy as np

from pd.audit import copies
from pd.audit.able import power_of, says_nothing
from pd.audit.attack import Attack, AttackResult
from pd.audit.estimate import CONFIDENCE, Estimate, from_draws
from pd.audit.reidentification import Reidentification, excess_interval
from pd.audit.results import AttackerRates, LessThan, Rates, Reidentified

ByAttacker = Mapping[str, AttackResult]


def independent(by_attacker: Mapping[str, object], voted: Collection[str]) -> list[str]:
    """The attackers that are not of a family that voted in the filter; all, where there is no other."""
    return [name for name in by_attacker if name not in voted] or list(by_attacker)


def worst(by_attacker: ByAttacker, voted: Collection[str] = ()) -> str:
    """The attacker with the largest excess, of those that had no vote."""
    return max(independent(by_attacker, voted), key=lambda name: by_attacker[name].found.excess.value)


def figures(by_attacker: ByAttacker, voted: Collection[str] = ()) -> Reidentified:
    """The worst attacker's figures, the excess of all that had no vote, and everybody's."""
    everybody = {name: _rates(attacked.found) for name, attacked in by_attacker.items()}
    return _headline(by_attacker, everybody, voted)


def figures_with_power(
    by_attacker: ByAttacker, attacks: Mapping[str, Attack], *, alpha: float, seed: int, voted: Collection[str] = ()
) -> Reidentified:
    """The same, with what each attacker could have seen, and with `says_nothing` where the samples are like nothing real."""
    looks = len(independent(by_attacker, voted))
    could = {
        name: (attacks[name].recognises, attacks[name].power(attacked.found.excess.n, seed, looks))
        for name, attacked in by_attacker.items()
    }
    everybody = {
        name: _rates(attacked.found).model_copy(update={"power": power_of({name: could[name]})})
        for name, attacked in by_attacker.items()
    }
    together = power_of({name: could[name] for name in by_attacker if name in independent(by_attacker, voted)})
    nothing = says_nothing({name: attacked.found for name, attacked in by_attacker.items()}, alpha)
    told = {"says_nothing": nothing} if nothing else {}
    return _headline(by_attacker, everybody, voted).model_copy(update={"power": together, **told})


def of_all(found: Mapping[str, Reidentification], sign: int = 1) -> Estimate:
    """The largest true excess of any attacker, as an estimate.

    Args:
        found: by attacker; resampled alike, so that their draws are paired.
        sign: -1 for how far samples are more similar to hold-out people than to members.
    """
    values = np.array([sign * one.excess.value for one in found.values()])
    draws = np.array([sign * one.draws for one in found.values()])
    centred = draws - draws.mean(axis=1, keepdims=True) + values[:, None]
    bias = max(float(centred.max(axis=0).mean() - values.max()), 0.0)
    tail = (1 - CONFIDENCE) / len(values)
    n = min(one.excess.n for one in found.values())
    lows, highs = [], {}
    for name, value, drawn in zip(found, values, draws, strict=True):
        lows.append(excess_interval(value, drawn, found[name].people, n, 1 - tail).low)
        highs[name] = excess_interval(value, drawn, found[name].people, n).high
    # The search for copies is there to find: where it finds nothing, what few strangers leave open of it rules nothing out.
    sure = [highs[name] for name, low in zip(found, lows, strict=True) if name != copies.NAME or low > 0]
    low, high = max(lows), max(sure or highs.values())
    return Estimate(float(np.clip(values.max() - bias, low, high)), low, high, n)


def less_than(arms: Mapping[str, ByAttacker], voted: Collection[str] = ()) -> dict[str, LessThan]:
    """How far the filtered arm's excess lies below each other arm's, by that arm's worst attacker.

    The draws are paired: each resample redraws the same people for both arms, whose luck so cancels. Two single intervals
    may overlap where this one is clear of 0. Of two sets of unrelated samples 98 to 100 of 100 such intervals hold 0 (simulated
    with 5 to 20 strangers), so that these are not widened.
    """
    if "filtered" not in arms:
        return {}
    compared = {}
    for name, by_attacker in arms.items():
        if name != "filtered":
            by = worst(by_attacker, voted)
            more, less = by_attacker[by].found, arms["filtered"][by].found
            value = more.excess.value - less.excess.value
            found = from_draws(value, more.draws - less.draws, min(more.excess.n, less.excess.n))
            compared[name] = LessThan(attacker=by, value=found.value, low=found.low, high=found.high, n=found.n)
    return compared


def share_kept(kept: ByAttacker, whole: ByAttacker) -> dict[str, Estimate | None]:
    """By attacker: excess of the round trips as a share of the originals'; None where the originals' is not above 0."""
    return {name: _ratio(kept[name].found, whole[name].found) for name in whole}


def _headline(by_attacker: ByAttacker, everybody: Mapping[str, Rates], voted: Collection[str]) -> Reidentified:
    name = worst(by_attacker, voted)
    found = {one: by_attacker[one].found for one in independent(by_attacker, voted)}
    marked = {
        one: AttackerRates(**rates.given(), **({"voted": True} if one in voted else {})) for one, rates in everybody.items()
    }
    together = {"excess": of_all(found), "toward_holdout": of_all(found, -1)}
    return Reidentified(**{**everybody[name].given(), "attacker": name, **together, "by_attacker": marked})


def _ratio(kept: Reidentification, whole: Reidentification) -> Estimate | None:
    if whole.excess.value <= 0:
        return None
    draws = np.divide(kept.draws, whole.draws, out=np.full(len(whole.draws), np.nan), where=whole.draws > 0)
    if not np.isfinite(draws).any():
        return None
    return from_draws(kept.excess.value / whole.excess.value, draws, kept.excess.n)


def _rates(found: Reidentification) -> Rates:
    return Rates(
        main=found.main,
        control=found.control,
        excess=found.excess,
        like_holdout=found.like_holdout,
        unlike=found.unlike,
        people_hit=found.people_hit,
    )
