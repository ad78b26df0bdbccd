"""`release/classifier/README.md`: what is guaranteed, what is not, how to use it and how anybody can check it."""

import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from pd.config import ClassifierSettings
from pd.dp.canaries import LowerBound
from pd.dp.ledger import Epsilon, Ledger
from pd.report.formal_card import bound_in_words, event_in_words
from pd.store.atomic import write_bytes

NOT_MEASURED = (
    "At these settings it was not measured for this card. The literature finds DP-SGD hard to beat where people are few; "
    "`classifier.baseline: card` measures it, and pays for it."
)


@dataclass(frozen=True)
class Compared:
    """Accuracy on hold-out people, of the classifier and of DP-SGD at the same epsilon: value, low and high."""

    ours: tuple[float, float, float]
    dp_sgd: tuple[float, float, float]


def write_classifier_card(
    out: Path,
    name: str,
    settings: ClassifierSettings,
    classes: tuple[str, ...],
    shape: tuple[int, ...],
    ledger: Ledger,
    epsilon: Epsilon,
    people: int,
    bound: LowerBound | None,
    compared: Compared | None,
    onnx: bool,
) -> None:
    """Write the card.

    Args:
        out: the file.
        name: of the run.
        settings: of the section `classifier`.
        classes: their names.
        shape: (C, H, W) of the images.
        ledger: what was spent.
        epsilon: what follows.
        people: members.
        bound: from canaries; None: not measured.
        compared: with DP-SGD, where that is paid for; None: it is not.
        onnx: whether `model.onnx` is there.
    """
    sound = math.isfinite(epsilon.value)
    front = {
        "license": "other",
        "license_name": "FILL-IN",
        "pipeline_tag": "image-classification",
        "tags": ["differential-privacy"] if sound else [],
    }
    text = [
        "---",
        yaml.safe_dump(front, sort_keys=False).strip(),
        "---",
        "",
        f"# {name}: a classifier {'with a formal privacy guarantee' if sound else 'WITHOUT a privacy guarantee'}",
        "",
        *(_promise(settings, epsilon, people) if sound else _none()),
        "",
        f"**Lower bound.** {bound_in_words(bound)}",
        "",
        "## Use it",
        "",
        f"It tells apart {len(classes)} classes, in this order: {', '.join(classes)}. Images are {shape[1]}x{shape[2]} pixels, "
        f"{'grey' if shape[0] == 1 else 'RGB'}, as float32 of shape (N, {', '.join(map(str, shape))}) in [-1, 1].",
        "",
        "```python",
        *_loader(onnx),
        "```",
        "",
        "## How it was made",
        "",
        _made(settings),
        "",
        f"**Is DP-SGD better?** {_better(settings, compared)}",
        "",
        "## What is not covered",
        "",
        "- The names of the classes: they come from the private data by a rule of its own (enough people carry each).",
        "- Settings that were chosen by looking at results on the private images, and whether it was released at all.",
        *(["- Figures on hold-out people: no ledger counts their images."] if compared else []),
        *(["- The lower bound above: it comes from a second training, which is not in the ledger."] if bound else []),
        f"- Images of a person beyond the most that enter ({settings.images_per_person}), which were not used; images that "
        "show another person of the data set.",
        "",
        "## Check it",
        "",
        "`ledger.json` lists every use of private data; `claim.json` says what follows. `pd verify` computes epsilon from the "
        "ledger with dp-accounting and compares. No bound here looks at the votes: one that does is itself private. The "
        "ledger:",
        "",
        *[f"- {entry.what}: `{event_in_words(entry.event)}`" for entry in ledger.entries],
        "",
    ]
    write_bytes(out, "\n".join(text).encode())


def _promise(settings: ClassifierSettings, epsilon: Epsilon, people: int) -> list[str]:
    odds = math.exp(min(epsilon.value, 700.0))
    lines = [
        f"**Epsilon {epsilon.value:.3g} at delta {epsilon.delta:g}**, for each of {people:,} people (computed by the "
        f"accountant {epsilon.accountant}).",
        "",
        "In plain words: whatever anybody learns from these files about one person, he would have learned almost as well if "
        f"that person's images had not been there. The odds of any conclusion change by a factor of at most {odds:,.3g}, apart "
        f"from an event of probability {epsilon.delta:g}. The unit is the person: all images of one identity together. "
        "Neighbouring data sets: one person's images are replaced by nothing (the number of people is public).",
    ]
    if settings.reproducible:
        lines += ["", "**The noise follows from the run's seed: the guarantee is void to whoever knows the seed.**"]
    return lines


def _none() -> list[str]:
    return [
        "**There is no guarantee.** The accounting of arXiv 2409.02404 was asked for: it counts the answers of the teachers, "
        "and not the generator, which learned against a classifier that saw all private images without protection.",
    ]


def _loader(onnx: bool) -> list[str]:
    with_pd = [
        "from pd.classify.task import load_classifier  # pip install privacy-distillation",
        "",
        'logits = load_classifier(Path("classifier"))(images)',
    ]
    if not onnx:
        return ["from pathlib import Path", "", *with_pd]
    return ["import onnxruntime", "", 'logits = onnxruntime.InferenceSession("model.onnx").run(None, {"images": images})[0]']


def _made(settings: ClassifierSettings) -> str:
    if settings.method == "dp_sgd":
        return "By DP-SGD: gradients clipped by person and noised (arXiv 1607.00133)."
    asked = {"noise": "noise pictures", "public": "public pictures"}[settings.queries_from]
    if settings.generates:
        against = {"student": "the student itself", "dp_sgd": "a classifier by DP-SGD, which is in the ledger"}[
            settings.against
        ]
        against = "a classifier of all private images" if settings.accounting == "paper" else against
        asked = f"pictures of a generator that saw no data and learned against {against}"
    more = {
        "vae": " The student is also steady along the latents of a VAE of generated pictures.",
        "tangent_normal": " The student is also steady along adversarial tangent and normal directions of a VAE of generated "
        "pictures.",
    }.get(settings.method, "")
    return (
        f"{settings.teachers} teachers learned from disjoint people and voted, through noise, on {settings.queries:,} queries: "
        f"{asked} (arXiv 1802.08908, 2409.02404; re-implemented).{more}"
    )


def _better(settings: ClassifierSettings, compared: Compared | None) -> str:
    if settings.method == "dp_sgd":
        return "This is DP-SGD."
    if compared is None:
        return NOT_MEASURED
    (ours, low, high), (theirs, least, most) = compared.ours, compared.dp_sgd
    which = "this classifier is" if low > most else "DP-SGD is" if least > high else "no difference is seen: either may be"
    return (
        f"At these settings {which} better: accuracy {ours:.3f} ({low:.3f} to {high:.3f}) against {theirs:.3f} ({least:.3f} to "
        f"{most:.3f}) of DP-SGD at the same epsilon, on hold-out people, whom neither saw. The ledger holds both."
    )
