"""What the models of an audit's result are made of: figures that say of themselves whether they may leave the house.

A field without a mark stays private, so that a figure nobody has thought of stays at home.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict

from pd.audit.estimate import Estimate

Keys = Literal["name", "label", "value"]
WITHHELD = "withheld"
"""Stands in what is released for words that tell a figure, or the name of a label, that is not."""

_NAME = re.compile(r"[\w .:@/+-]{1,80}")
_VALUE = re.compile(r"-?\d{1,4}(\.\d{1,4})?|true|false|yes|no", re.IGNORECASE)
_LONGEST = 400  # of a remark, such as why something could not be measured


@dataclass(frozen=True)
class Public:
    """The mark of a field that may be released.

    Attributes:
        keys: of a mapping, and of the mappings in it, which entries: those under any `name`, under a `label` that enough
            members carry, or under a label's `value`.
        is_label: the text is the name of a label, and is withheld where too few members carry it.
    """

    keys: tuple[Keys, ...] = ()
    is_label: bool = False


PUBLIC = Public()
BY_NAME = Public(("name",))
BY_LABEL = Public(("label",))


class Figures(BaseModel):
    """A frozen group of figures. What it does not know is left out when it is read."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    def __bool__(self) -> Literal[True]:
        """Never false, so that `found and found.excess` is a figure or None."""
        return True

    def given(self) -> dict[str, Any]:
        """What was set, by field."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}

    def as_json(self) -> dict[str, Any]:
        """For a file: what was set, and nothing else."""
        return self.model_dump(mode="json", exclude_unset=True)


class NotMeasured(Figures):
    """Stands instead of figures.

    Attributes:
        why: there are none.
    """

    why: Annotated[str, PUBLIC]


F = TypeVar("F", bound=Figures)
T = TypeVar("T")


def measured(found: T | NotMeasured | None) -> T | None:
    """The figures, where there are any."""
    return None if isinstance(found, NotMeasured) else found


def why_not(found: object) -> str:
    """Why there is no figure, where the audit says so; else nothing."""
    return str(getattr(found, "why", None) or "")


def public_part(figures: F, labels: Collection[str]) -> F:
    """What of these figures may be released.

    Args:
        figures: any.
        labels: that enough members carry, so that they may be named.
    """
    kept = {}
    for name, field in type(figures).model_fields.items():
        mark = next((one for one in field.metadata if isinstance(one, Public)), None)
        if mark is not None and name in figures.model_fields_set:
            kept[name] = _shown(getattr(figures, name), mark, mark.keys, labels)
    return cast(F, type(figures).model_construct(_fields_set=set(kept), **cast(Any, kept)))


def _shown(value: object, mark: Public, keys: tuple[Keys, ...], labels: Collection[str]) -> object:
    if isinstance(value, Figures):
        return public_part(value, labels)
    if isinstance(value, Mapping):
        rule, *rest = keys
        some = {key: entry for key, entry in value.items() if _allowed(cast(str, key), rule, labels)}
        return {_name(key): _shown(entry, mark, tuple(rest), labels) for key, entry in some.items()}
    if isinstance(value, str) and mark.is_label:
        return value if value in labels else WITHHELD
    if isinstance(value, str):
        return _name(" ".join(value.split())[:_LONGEST])
    if isinstance(value, list):
        rule = keys[0] if keys else "label"
        shown = (one for one in value if not isinstance(one, str) or _allowed(one, rule, labels))
        return [_name(one) if isinstance(one, str) else one for one in shown]
    if value is None or isinstance(value, int | float | Estimate):
        return value
    raise TypeError(f"no rule says how to release {type(value).__name__}")


def _allowed(key: str, rule: Keys, labels: Collection[str]) -> bool:
    if rule == "label":
        return key in labels
    return bool((_NAME if rule == "name" else _VALUE).fullmatch(key))


def _name(text: str) -> str:
    """A path of this machine (an attacker may be a file) as the file's name: where it lies is nobody's business."""
    return PurePosixPath(text).name if text.startswith(("/", "~/", "./", "../", "file:")) else text
