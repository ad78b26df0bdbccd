"""`release/formal/README.md`: what is guaranteed, what is not, and how anybody can check it."""

import math
from pathlib import Path

import yaml

from pd.config import FormalSettings
from pd.dp.canaries import LowerBound
from pd.dp.ledger import Epsilon, Ledger
from pd.formal.plan import Published
from pd.store.atomic import write_bytes

_RELATION = {
    "zero_out": "one person's images are replaced by nothing (the number of people is public)",
    "replace": "one person's images are replaced by another's",
}


def write_formal_card(
    out: Path,
    name: str,
    formal: FormalSettings,
    ledger: Ledger,
    epsilon: Epsilon,
    people: int,
    weights: int,
    bound: LowerBound | None,
    published: Published | None = None,
) -> None:
    """Write the card.

    Args:
        out: the file.
        name: of the run.
        formal: its settings.
        ledger: what was spent.
        epsilon: what follows.
        people: members.
        weights: trained numbers.
        bound: from canaries; None: not measured.
        published: what the paper would claim, where its accounting was asked for.
    """
    sound = math.isfinite(epsilon.value)
    front = {
        "license": "other",
        "license_name": "FILL-IN",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["differential-privacy", "synthetic-data"] if sound else ["synthetic-data"],
    }
    text = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        "",
        f"# {name}: a model {'with a formal privacy guarantee' if sound else 'WITHOUT a privacy guarantee'}",
        "",
        *(_promise(formal, ledger, epsilon, people) if sound else _none(published)),
        "",
        f"**Lower bound.** {bound_in_words(bound)}",
        "",
        "## What is covered",
        "",
        f"- The weights in `model/` ({weights:,} trained numbers in the UNet, and the text encoder): see `lineage.json`.",
        *(["- The images in `data/`: they are samples of the model."] if formal.release == "all" and formal.samples else []),
        f"- Public inputs: {_public(formal)}.",
        "",
        "## What is not covered",
        "",
        "- Settings that were chosen by looking at results on the private images.",
        *(["- The lower bound above: it comes from a second training, which is not in the ledger."] if bound else []),
        "- The prompts, and which captions there are: they come from the private data by a rule of its own (a caption is used "
        "only where enough people share it), not through the ledger.",
        "- Figures of an audit, and everything else in this release outside this folder: the filtered student beside it has "
        "no formal guarantee.",
        "- Images of a person beyond the most that enter "
        f"({formal.images_per_person}): they were not used at all. Images that show another person of the data set.",
        "",
        "## Check it",
        "",
        "`ledger.json` lists every use of private data; `claim.json` says what follows. `pd verify` computes epsilon from the "
        "ledger with dp-accounting and compares. The ledger:",
        "",
        *[f"- {entry.what}: `{event_in_words(entry.event)}`" for entry in ledger.entries],
        "",
    ]
    write_bytes(out, "\n".join(text).encode())


def _promise(formal: FormalSettings, ledger: Ledger, epsilon: Epsilon, people: int) -> list[str]:
    odds = math.exp(min(epsilon.value, 700.0))
    lines = [
        f"**Epsilon {epsilon.value:.3g} at delta {epsilon.delta:g}**, for each of {people:,} people (computed by the "
        f"accountant {epsilon.accountant}).",
        "",
        "In plain words: whatever anybody learns from these files about one person, he would have learned almost as well if "
        f"that person's images had not been there. The odds of any conclusion change by a factor of at most {odds:,.3g}, "
        f"apart from an event of probability {epsilon.delta:g}. A small epsilon (1) is strong; one of 10 is a weak promise "
        "against somebody who knows everything else, though known attacks do much worse than that.",
        "",
        f"The unit is the person: all images of one identity together. Neighbouring data sets: {_RELATION[ledger.relation]}.",
    ]
    if formal.reproducible:
        lines += ["", "**The noise follows from the run's seed: the guarantee is void to whoever knows the seed.**"]
    if formal.method == "dp_sad":
        lines += ["", "The method is a mended DP-SAD, not the mechanism of arXiv 2408.14738, whose accounting is no guarantee."]
    return lines


def _none(published: Published | None) -> list[str]:
    told = [] if published is None else ["", f"In figures, {published.in_words()}."]
    return [
        "**There is no guarantee.** The accounting of arXiv 2408.14738 was asked for. Its noise is divided by the number of "
        "diffusion steps, one person moves the gradients of a whole batch through a teacher that nothing protects, and the "
        "student's Jacobian is taken at private images.",
        *told,
    ]


def bound_in_words(bound: LowerBound | None) -> str:
    """What canaries showed, for a card."""
    if bound is None:
        return "An attack that would put a lower bound beside epsilon was not measured."
    return (
        f"With {bound.confidence:.0%} confidence, a twin training of the same settings with {bound.canaries:,} canaries has "
        f"an epsilon of at least {bound.epsilon:.3g} ({bound.right:,} of {bound.guesses:,} guesses right). This comes from a "
        "second training on the same people, which no ledger counts."
    )


def _public(formal: FormalSettings) -> str:
    parts = ["the autoencoder that pd ships" if formal.model.autoencoder == "bundled" else "the base's autoencoder"]
    parts += ["the public base"] if formal.model.base else []
    parts += ["the pictures of the section `public`"] if formal.public else []
    return ", ".join(parts)


def event_in_words(event: object) -> str:
    """An event of a ledger, for a card."""
    return str(event).replace("'", "").replace("{", "(").replace("}", ")")
