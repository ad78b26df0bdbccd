"""What an audit could have seen, and whether its comparison says anything: for people, and for who decides by its figures."""

from collections.abc import Mapping

from pd.audit.estimate import Estimate
from pd.audit.power import LEAKED, POWER, Power
from pd.audit.recognition import COPIES, HARDLY, OTHER_PICTURES, Recognised
from pd.audit.reidentification import Reidentification
from pd.audit.results import Power as Seen

Could = tuple[Mapping[str, Recognised], Mapping[str, Power]]

_SOME = 0.1  # of the samples that are less like anybody than strangers, where few pass, too; ours
_MOST = 0.5  # of the samples that may be unlike anything; ours


def power_of(attackers: Mapping[str, Could]) -> Seen:
    """What the best of these attackers could have seen.

    Returns:
        `copies` and `other_pictures`: the share of such pictures of members that it recognises; `detectable` and `planted`: the
        smallest excess by copies that it finds four times of five, and the share of samples that are then copies;
        `detectable_other` and `planted_other`, of other pictures; `blind`: it would have found no leak by copies; `words`.
        What it could not have found has no figure.
    """
    told: dict[str, Estimate | float] = {}
    for kind, end in ((COPIES, ""), (OTHER_PICTURES, "_other")):
        known = [recognises[kind] for recognises, _ in attackers.values() if kind in recognises]
        if known:
            told[kind] = max((one.share for one in known), key=lambda share: share.value)
        found = [could[kind] for _, could in attackers.values() if kind in could]
        able = [(one.detectable, one.planted) for one in found if one.detectable is not None and one.planted is not None]
        if able:
            told[f"detectable{end}"], told[f"planted{end}"] = min(able, key=lambda one: one[0])
    seen = Seen.model_validate({**told, "blind": "detectable" not in told})
    return seen.model_copy(update={"words": _words(seen)})


def _words(power: Seen) -> str:
    if power.planted is None:
        return (
            "This audit could not have found a leak of copies: even if every sample had been a copy of a picture of "
            f"{LEAKED} members, it would have missed that more than {100 - 100 * POWER:.0f} times in 100. More hold-out people "
            "or other attackers are needed."
        )
    text = (
        f"This audit would have found copies of members' pictures {100 * POWER:.0f} times in 100, had they been "
        f"{100 * power.planted:.1f} % of the samples"
    )
    other = power.other_pictures
    if other is None:
        return f"{text}. What it sees of other pictures of a member is not known: no member has two pictures."
    share = f"{100 * other.value:.0f} in 100 (95 % interval {100 * other.low:.0f} to {100 * other.high:.0f})"
    if power.planted_other is not None and other.value >= HARDLY:
        least = f"{100 * power.planted_other:.1f} %"
        return f"{text}, and other pictures of the same people from {least} on; it recognises {share}."
    return f"{text}. Of other pictures of the same people it recognises {share}: copies alone could have been seen reliably."


def says_nothing(found: Mapping[str, Reidentification], alpha: float) -> str:
    """Why a comparison of samples with members and hold-out people says nothing; empty where it does.

    Unrelated pictures of the same kind pass for hold-out people as often as strangers do. Where fewer do, or most are less like
    anybody than nearly all strangers, the samples are of another kind, and that few pass for members is no finding.

    Args:
        found: by attacker.
        alpha: the stranger rate.
    """
    few = [name for name, one in found.items() if one.control.high < alpha and one.like_holdout.high < alpha]
    odd = [name for name in few if found[name].unlike.low > _SOME]
    odd += [name for name, one in found.items() if one.unlike.low > _MOST and name not in odd]
    if not odd:
        return ""
    return (
        f"The samples are less like real people than strangers are ({', '.join(odd)}), so that few pass for anybody: framed, "
        "turned or inverted pictures look so, or drawings. That no leak is seen means nothing."
    )
