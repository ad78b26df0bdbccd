"""The audit as a table of measures by arms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pd.report.words import ARMS, WITHHELD, decimal, dig, fidelity_label, is_number, measure, percent, why


@dataclass(frozen=True)
class Cell:
    """A figure, with its interval in words and a remark; `text` is empty when it was not measured, and then `note` says why."""

    text: str = ""
    interval: str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One measure over all arms."""

    label: str
    hint: str
    cells: list[Cell]
    strong: bool = False


@dataclass(frozen=True)
class Group:
    """Rows under a common heading."""

    label: str
    rows: list[Row]


@dataclass(frozen=True)
class Table:
    """Measures by arms.

    Attributes:
        columns: names of the arms, then of the real images when they were measured too.
        groups: the rows; those that nobody has are left out.
        missing: names of standard arms that were not audited.
    """

    columns: list[str]
    groups: list[Group]
    missing: list[str]


def audit_table(audit: Mapping[str, Any]) -> Table:
    """Arrange `audit.json` for reading; whatever is missing is left empty, never guessed."""
    arms = {arm: entry for arm, entry in (dig(audit, "arms") or {}).items() if isinstance(entry, Mapping)}
    order: list[str] = [arm for arm in ARMS if arm in arms] + sorted(set(arms) - set(ARMS))
    entries = [arms[arm] for arm in order]
    columns: list[str] = [ARMS.get(arm, arm) for arm in order]
    real = dig(audit, "real")
    if isinstance(real, Mapping) and any(real.get(key) for key in ("utility", "reid", "fidelity")):
        entries, columns = [*entries, real], [*columns, "Real images"]
    groups = [
        Group("Samples", [_row("Samples", "how many were attacked", entries, _count)]),
        Group("Re-identification by the worst attacker", _reid(entries)),
        Group("Excess by attacker", _by_attacker(entries)),
        Group("Extraction of training images", _extraction(entries)),
        Group("Membership inference", _membership(entries)),
        Group("Attribute disclosure", _attributes(entries)),
        Group("Usefulness", [_row("Usefulness (AUC)", "trained on samples, tested on real people", entries, _utility)]),
        Group("Likeness to real images", _fidelity(entries)),
        Group("Coverage", _coverage(entries)),
        Group("Prompt adherence", [_row("Prompt adherence", "likeness of picture and prompt", entries, _adherence)]),
    ]
    shown = [
        Group(group.label, [row for row in group.rows if any(cell.text or cell.note for cell in row.cells)]) for group in groups
    ]
    missing = [ARMS[arm] for arm in ARMS if arm not in (*arms, "condensed")]  # that one is of settings of its own
    return Table(columns, [group for group in shown if group.rows], missing)


def _row(label: str, hint: str, entries: list[Any], cell: Callable[[Any], Cell], strong: bool = False) -> Row:
    return Row(label, hint, [cell(entry) for entry in entries], strong)


def _cell(value: Any, form: Callable[[float], str], note: str = "") -> Cell:
    figure = measure(value)
    if figure is None:
        return Cell()
    interval = f"{form(figure['low']).removesuffix(' %')} to {form(figure['high'])}" if "low" in figure else ""
    return Cell(form(figure["value"]), interval, note)


def _count(entry: Any) -> Cell:
    count = dig(entry, "n")
    return Cell(f"{int(count):,}") if is_number(count) else Cell()


def _people(entry: Any) -> Cell:
    count = dig(entry, "reid", "people_hit")
    return Cell(f"{int(count):,}") if is_number(count) else Cell()


def _utility(entry: Any) -> Cell:
    return _cell(dig(entry, "utility", "auc"), decimal)


def _reid(entries: list[Any]) -> list[Row]:
    def rate(name: str) -> Callable[[Any], Cell]:
        return lambda entry: _cell(dig(entry, "reid", name), percent)

    def attacker(entry: Any) -> Cell:
        return Cell(str(dig(entry, "reid", "attacker") or ""))

    return [
        _row("Attacker", "the one that finds most", entries, attacker),
        _row("Main rate", "samples that look like a member", entries, rate("main")),
        _row("Control rate", "samples that look like a stranger, by the same rule", entries, rate("control")),
        _row(
            "Excess",
            "main less control: what the model gives away, up to the highest end of all attackers",
            entries,
            rate("excess"),
            strong=True,
        ),
        _row("Members resembled", "people whom at least one sample is taken for", entries, _people),
        _row("Smallest leak it would have seen", "excess found 4 times of 5 with so many people", entries, _power),
    ]


def _by_attacker(entries: list[Any]) -> list[Row]:
    names = sorted({name for entry in entries for name in (dig(entry, "reid", "by_attacker") or {})})

    def of(name: str) -> Callable[[Any], Cell]:
        def cell(entry: Any) -> Cell:
            found = dig(entry, "reid", "by_attacker", name)
            return _cell(dig(found, "excess") or found, percent)

        return cell

    return [_row(name, "", entries, of(name)) for name in names] if len(names) > 1 else []


def _power(entry: Any) -> Cell:
    power = dig(entry, "reid", "power")
    return _figure(entry, "reid", "power", "detectable", note="blind to any leak" if dig(power, "blind") is True else "")


def _figure(entry: Any, *keys: str, form: Callable[[float], str] = percent, note: str = "") -> Cell:
    """A figure deep in an arm's entry; without one, the reason that stands on the way to it."""
    reasons = [why(entry, *keys[:depth]) for depth in range(1, len(keys) + 1)]
    return _cell(dig(entry, *keys), form, note) if measure(dig(entry, *keys)) else Cell(note=next(filter(None, reasons), ""))


def _extraction(entries: list[Any]) -> list[Row]:
    def count(entry: Any) -> Cell:
        found = dig(entry, "extraction", "images_extracted")
        return Cell(f"{int(found):,}") if is_number(found) else Cell()

    return [
        _row(
            "Extracted",
            "generated over and over, and a member's image",
            entries,
            lambda e: _figure(e, "extraction", "extracted"),
        ),
        _row("The same of strangers", "whom no model saw", entries, lambda e: _figure(e, "extraction", "control")),
        _row("Excess extraction", "the first less the second", entries, lambda e: _figure(e, "extraction", "excess"), True),
        _row("Images extracted", "different training images", entries, count),
        _row(
            "Copies",
            "samples that are a member's image, repeated or not, beyond strangers'",
            entries,
            lambda e: _figure(e, "extraction", "copies", "excess"),
        ),
    ]


def _membership(entries: list[Any]) -> list[Row]:
    def row(attack: str, key: str, label: str, hint: str, form: Callable[[float], str]) -> Row:
        return _row(label, hint, entries, lambda entry: _figure(entry, "membership", attack, key, form=form))

    rows = []
    for attack, name in (("loss", "loss threshold"), ("likelihood_ratio", "likelihood ratio")):
        rows.append(row(attack, "auc", f"AUC, {name}", "0.5 is guessing", decimal))
        rows.append(row(attack, "tpr_at_1", f"Members named, {name}", "at 1 % of strangers; guessing names 1 %", percent))
    hint = "from samples alone; 0.5 is guessing"
    rows.append(_row("AUC, best match", hint, entries, lambda e: _figure(e, "best_match", "single", "auc", form=decimal)))
    averaged = _row(
        "AUC, best match of means", hint, entries, lambda e: _figure(e, "best_match", "averaged", "auc", form=decimal)
    )
    return [*rows, averaged]


def _attributes(entries: list[Any]) -> list[Row]:
    def cell(entry: Any) -> Cell:
        label = dig(entry, "attributes", "worst")
        if not isinstance(label, str):
            return Cell(note=why(entry, "attributes"))
        if label == WITHHELD:
            return Cell(note=label)
        return _figure(entry, "attributes", "by_label", label, "advantage", form=decimal, note=label)

    return [
        _row("Worst label", "advantage of guessing members' over strangers'", entries, cell),
        _row(
            "Half-hidden picture completed",
            "the same, of the half that is not shown",
            entries,
            lambda e: _figure(e, "attributes", "hidden_half", "advantage", form=decimal),
        ),
    ]


def _coverage(entries: list[Any]) -> list[Row]:
    return [
        _row("Members near whom a sample lies", "", entries, lambda entry: _figure(entry, "coverage", "identities")),
        _row("Precision", "samples that look real", entries, lambda entry: _figure(entry, "coverage", "precision")),
        _row("Recall", "real images that samples reach", entries, lambda entry: _figure(entry, "coverage", "recall")),
    ]


def _adherence(entry: Any) -> Cell:
    return _figure(entry, "adherence", "score", form=decimal, note=str(dig(entry, "adherence", "model") or ""))


def _fidelity(entries: list[Any]) -> list[Row]:
    labels: dict[str, str] = {}
    for entry in entries:
        for key, value in (dig(entry, "fidelity") or {}).items():
            if measure(value) is not None:
                labels.setdefault(key, fidelity_label(key, value))

    def of(key: str) -> Callable[[Any], Cell]:
        def cell(entry: Any) -> Cell:
            value = dig(entry, "fidelity", key)
            count, subset = dig(value, "n"), dig(value, "subset")
            note = f"n = {int(count):,}" if is_number(count) else ""
            # Subsets do not grow with n, so that their spread is no interval of the mean.
            return _cell(value, decimal, f"{note}; spread of subsets of {int(subset):,}" if is_number(subset) else note)

        return cell

    def hint(key: str) -> str:
        return "lower is closer; of the real ones: held-out people" if key.lower().startswith(("fid", "kid")) else ""

    return [_row(label, hint(key), entries, of(key)) for key, label in labels.items()]
