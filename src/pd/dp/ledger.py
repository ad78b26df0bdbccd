"""The ledger of privacy loss: what was done with private data, and the epsilon that follows from it.

A ledger is data: mechanisms append the events that they emit, and epsilon is computed from the events, never written down
by hand. All events of a ledger are under one neighbouring relation and one unit, the person.

Relations:
    zero_out: neighbouring data sets differ in one person, whose images are replaced by a record that contributes zero. The
        number of people is public. For the Gaussian sums and Poisson samples used here its privacy loss is that of adding
        or removing one person (Kairouz et al., arXiv 2103.00039, section 2.1).
    replace: one person's images are replaced by another's.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pd.dp.events import Event, accounting, to_library
from pd.errors import UserError
from pd.store.atomic import write_json

Relation = Literal["zero_out", "replace"]
VERSION = 1
# A step of PLD's grid of losses. Any is sound (losses are rounded up); smaller ones are tighter and slower.
_GRID = 1e-3  # ours
# The grid of an epsilon of this size has a million steps; with an event of hardly any noise it would fill all memory.
_MOST = 1000.0  # ours


@dataclass(frozen=True)
class Entry:
    """One use of private data.

    Attributes:
        what: in a few words.
        event: how it was protected (`pd.dp.events`).
    """

    what: str
    event: Event


@dataclass(frozen=True)
class Epsilon:
    """What an attacker who knows everything but one person can learn of that person.

    Attributes:
        value: epsilon; infinite where an event is not protected.
        delta: at this delta.
        accountant: whose bound it is: the smallest of those that support all events.
        by: each accountant's.
    """

    value: float
    delta: float
    accountant: str
    by: dict[str, float]


@dataclass(frozen=True)
class Ledger:
    """Uses of one private data set, in their order.

    Attributes:
        relation: what neighbouring data sets differ in.
        entries: the uses.
    """

    relation: Relation = "zero_out"
    entries: tuple[Entry, ...] = ()

    def spend(self, what: str, event: Event) -> "Ledger":
        """The ledger with one use more; the event is checked."""
        to_library(event)
        return Ledger(self.relation, (*self.entries, Entry(what, event)))

    def and_(self, other: "Ledger") -> "Ledger":
        """Both together.

        Raises:
            UserError: they are under different relations.
        """
        if self.relation != other.relation:
            raise UserError(
                f"ledgers under '{self.relation}' and '{other.relation}' do not add up",
                code="bad-ledger",
                where="ledger",
                fix="account for each relation on its own",
            )
        return Ledger(self.relation, (*self.entries, *other.entries))

    def epsilon(self, delta: float, accountants: tuple[str, ...] = ("rdp", "pld")) -> Epsilon:
        """The smallest sound epsilon at a delta.

        Args:
            delta: of the guarantee.
            accountants: that are asked; `rdp` alone is many times as quick, and its epsilon larger.

        Raises:
            UserError: no accountant supports all events.
        """
        if not 0 < delta < 1:
            raise UserError(f"delta is {delta:g}", code="bad-value", where="formal.delta", fix="set it between 0 and 1")
        if not self.entries:
            return Epsilon(0.0, delta, "nothing was spent", {})
        found: dict[str, float] = {}
        try:
            for name in accountants:
                if (value := self._bound(name, delta, found.get("rdp"))) is not None:
                    found[name] = value
        except (ArithmeticError, ValueError, MemoryError) as error:  # counts and noise that no training has
            raise UserError(
                f"no accountant can work these events out ({type(error).__name__})", code="bad-ledger", where="ledger"
            ) from None
        if not found:
            kinds = sorted({str(entry.event.get("kind")) for entry in self.entries})
            raise UserError(
                f"no accountant supports these events together ({', '.join(kinds)}; relation {self.relation})",
                code="bad-ledger",
                where="ledger",
            )
        best = min(found, key=lambda name: found[name])
        return Epsilon(found[best], delta, best, found)

    def _bound(self, name: str, delta: float, known: float | None) -> float | None:
        """One accountant's epsilon; None: it does not support an event; infinite, which is sound, where it is too large."""
        library = accounting()
        from dp_accounting import pld, rdp

        relation = library.NeighboringRelation[{"zero_out": "ADD_OR_REMOVE_ONE", "replace": "REPLACE_ONE"}[self.relation]]
        accountant = (
            rdp.RdpAccountant(neighboring_relation=relation)
            if name == "rdp"
            else pld.PLDAccountant(relation, value_discretization_interval=_GRID)
        )
        events = [to_library(entry.event) for entry in self.entries]
        if not all(accountant.supports(event) for event in events):
            return None
        if name != "rdp" and (self._order_of_size(events, delta) if known is None else known) > _MOST:
            return math.inf
        for event in events:
            accountant.compose(event)
        value = float(accountant.get_epsilon(delta))
        return math.inf if math.isnan(value) else value

    @staticmethod
    def _order_of_size(events: list[Any], delta: float) -> float:
        """About how large an epsilon is, quickly, whatever the relation; no bound."""
        from dp_accounting import rdp

        accountant = rdp.RdpAccountant()
        for event in events:
            if accountant.supports(event):
                accountant.compose(event)
        value = float(accountant.get_epsilon(delta))
        return math.inf if math.isnan(value) else value

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        entries = [{"what": entry.what, "event": dict(entry.event)} for entry in self.entries]
        return {"schema": VERSION, "unit": "person", "relation": self.relation, "entries": entries}

    @classmethod
    def from_json(cls, tree: Any) -> "Ledger":
        """What `to_json` made.

        Raises:
            UserError: it is something else.
        """
        try:
            if tree["schema"] != VERSION or tree["unit"] != "person" or tree["relation"] not in ("zero_out", "replace"):
                raise ValueError
            ledger = cls(tree["relation"])
            for entry in tree["entries"]:
                ledger = ledger.spend(str(entry["what"]), entry["event"])
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UserError("no privacy ledger", code="bad-ledger", where="ledger", fix="name one that pd wrote") from None
        return ledger

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        write_json(path, self.to_json())

    @classmethod
    def load(cls, path: Path) -> "Ledger":
        """What `save` wrote.

        Raises:
            UserError: it cannot be read, or is no ledger.
        """
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"the ledger cannot be read ({type(error).__name__})", code="bad-ledger", where=str(path)) from None
        return cls.from_json(tree)
