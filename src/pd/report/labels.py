"""How labels came about: annotators, noise, what changed. All of it is private but the words for the card."""

from collections.abc import Mapping
from typing import Any

from pd.report.data import ReportData
from pd.report.pictures import picture_uri

SHOWN_ANNOTATORS = 10
_IDENTIFIABLE = {"correlation": "yes", "dual": "no: by Dual-T", "none": "too rare: as given"}
_HOW = {
    "majority": "the majority of annotators' votes",
    "dawid_skene": "annotators' votes, weighed by each annotator's estimated errors (Dawid-Skene)",
    "crowd_layer": "annotators' votes and the images, by a network with a layer for each annotator (CrowdLayer)",
    "ccc": "annotators' votes and the images, by two networks that correct each other's view of annotators (CCC)",
    "transition": "noisy labels and the images, by a network that allows for the estimated noise of each label",
    "fill": "given labels; a network filled the gaps",
    "semi_vit": "few given labels; a vision transformer that learned from unlabelled images, too, filled the gaps (Semi-ViT)",
}


def made_by(method: str | None) -> str:
    """How labels were made, in words; empty where they are the data's own."""
    return _HOW[method] if method is not None else ""


def labels_section(data: ReportData) -> Mapping[str, Any] | None:
    """What the section `labels` of the custodian's report shows; None without the stage."""
    found = data.labels
    if found is None:
        return None
    return {
        "made_by": made_by(found["method"]),
        "names": ", ".join(found["names"]),
        "images": found["images"],
        "labelled": found["labelled"],
        "changed": found["changed"],
        "against": found["against"],
        "filled": found.get("filled"),
        "warnings": found["warnings"],
        "people": [_annotator(one) for one in found.get("people", ())[:SHOWN_ANNOTATORS]],
        "annotators": found.get("annotators", 0),
        "transitions": [_transition(one) for one in found.get("transitions", ())],
        "gallery": [_pictured(data, _change(one)) for one in found["gallery"]],
        "measured": [_measured(name, one) for name, one in found.get("measured", {}).items()],
        "unsure": [
            _pictured(data, {**_guess(one), "before": "", "count": 0, "open": one["open"]}) for one in found.get("unsure", ())
        ],
        "confused": [
            _pictured(data, {**_change(one), "count": one["count"], "open": False}) for one in found.get("confused", ())
        ],
    }


def _pictured(data: ReportData, one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "image": picture_uri(data.real.get(one["id"]), 96)}


def _guess(one: Mapping[str, Any]) -> dict[str, str]:
    return {
        "id": str(one["id"]),
        "label": str(one["label"]),
        "after": _value(one["after"]),
        "probability": f"{one['probability']:.3f}",
    }


def _measured(name: str, one: Mapping[str, Any]) -> dict[str, str]:
    def rate(key: str) -> str:
        found = one.get(key)
        return f"{found['value']:.1%} ({found['low']:.1%} to {found['high']:.1%})" if found else "not measured"

    tested = f"{one['tested']:,}" + (f" of {one['people']:,} people" if one.get("people") else "")
    counts = {key: f"{one[key]:,}" for key in ("labelled", "filled", "open")}
    return {"label": name, "tested": tested, **counts, **{key: rate(key) for key in ("precision", "answered", "accuracy")}}


def _annotator(one: Mapping[str, Any]) -> dict[str, str]:
    return {
        "name": str(one["name"]),
        "votes": f"{one['votes']:,}",
        "reliability": f"{one['reliability']:.1%}",
        "interval": f"{one['low']:.1%} to {one['high']:.1%}",
    }


def _transition(one: Mapping[str, Any]) -> dict[str, str]:
    return {
        "label": str(one["label"]),
        "given_absent": f"{one['given_absent']:.3f}",
        "missed_present": f"{one['missed_present']:.3f}",
        "how": _IDENTIFIABLE.get(one["how"], one["how"]),
    }


def _change(one: Mapping[str, Any]) -> dict[str, str]:
    return {
        "id": str(one["id"]),
        "label": str(one["label"]),
        "before": _value(one["before"]),
        "after": _value(one["after"]),
        "probability": f"{one['probability']:.3f}",
    }


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
