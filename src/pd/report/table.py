"""The audit as a table of measures by arms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pd.audit.estimate import Estimate
from pd.audit.figures import WITHHELD, NotMeasured, measured, why_not
from pd.audit.results import ArmResult, AuditResult, Distance, Membership, RealResult
from pd.report.formatting import ARMS, decimal, fidelity_label, percent, usefulness

Entry = ArmResult | RealResult
OfArm = Callable[[ArmResult], "Cell"]


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


def audit_table(audit: AuditResult) -> Table:
    """Arrange an audit for reading; whatever is missing is left empty, never guessed."""
    order: list[str] = [arm for arm in ARMS if arm in audit.arms] + sorted(set(audit.arms) - set(ARMS))
    entries: list[Entry] = [audit.arms[arm] for arm in order]
    columns: list[str] = [ARMS.get(arm, arm) for arm in order]
    if audit.real and (audit.real.utility or audit.real.fidelity):
        entries, columns = [*entries, audit.real], [*columns, "Real images"]
    groups = [
        Group("Samples", [_row("Samples", "how many were attacked", entries, lambda arm: _count(arm.n))]),
        Group("Re-identification by the worst attacker", _reid(entries)),
        Group("Excess by attacker", _by_attacker(entries)),
        Group("Extraction of training images", _extraction(entries)),
        Group("Membership inference", _membership(entries)),
        Group("Attribute disclosure", _attributes(entries)),
        Group("Usefulness", [Row("Usefulness (AUC)", "trained on samples, tested on real people", _useful(entries))]),
        Group("Likeness to real images", _fidelity(entries)),
        Group("Coverage", _coverage(entries)),
        Group("Prompt adherence", [_row("Prompt adherence", "likeness of picture and prompt", entries, _adherence)]),
    ]
    shown = [
        Group(group.label, [row for row in group.rows if any(cell.text or cell.note for cell in row.cells)]) for group in groups
    ]
    missing = [ARMS[arm] for arm in ARMS if arm not in (*audit.arms, "condensed")]  # that one is of settings of its own
    return Table(columns, [group for group in shown if group.rows], missing)


def _row(label: str, hint: str, entries: Sequence[Entry], cell: OfArm, strong: bool = False) -> Row:
    """A measure of arms, which real images do not have."""
    return Row(label, hint, [cell(entry) if isinstance(entry, ArmResult) else Cell() for entry in entries], strong)


def _cell(value: Estimate | Distance | float | None, form: Callable[[float], str], note: str = "", why: str = "") -> Cell:
    """A figure; without one, why there is none."""
    if value is None:
        return Cell(note=why)
    if isinstance(value, float | int):
        return Cell(form(value), note=note)
    return Cell(form(value.value), f"{form(value.low).removesuffix(' %')} to {form(value.high)}", note)


def _count(count: int | None) -> Cell:
    return Cell() if count is None else Cell(f"{count:,}")


def _useful(entries: Sequence[Entry]) -> list[Cell]:
    return [_cell(usefulness(entry), decimal) for entry in entries]


def _reid(entries: Sequence[Entry]) -> list[Row]:
    def power(arm: ArmResult) -> Cell:
        found = arm.reid.power if arm.reid else None
        note = "blind to any leak" if found and found.blind else ""
        return _cell(found.detectable if found else None, percent, note, note)

    return [
        _row(
            "Attacker",
            "the one that finds most",
            entries,
            lambda arm: Cell((arm.reid.attacker or "") if arm.reid else ""),
        ),
        _row(
            "Main rate",
            "samples that look like a member",
            entries,
            lambda arm: _cell(arm.reid and arm.reid.main, percent),
        ),
        _row(
            "Control rate",
            "samples that look like a stranger, by the same rule",
            entries,
            lambda arm: _cell(arm.reid and arm.reid.control, percent),
        ),
        _row(
            "Excess",
            "main less control: what the model gives away, up to the highest end of all attackers",
            entries,
            lambda arm: _cell(arm.reid and arm.reid.excess, percent),
            strong=True,
        ),
        _row(
            "Members resembled",
            "people whom at least one sample is taken for",
            entries,
            lambda arm: _count(arm.reid.people_hit if arm.reid else None),
        ),
        _row("Smallest leak it would have seen", "excess found 4 times of 5 with so many people", entries, power),
    ]


def _by_attacker(entries: Sequence[Entry]) -> list[Row]:
    names = sorted({name for arm in entries if isinstance(arm, ArmResult) and arm.reid for name in arm.reid.by_attacker})

    def of(name: str) -> OfArm:
        def cell(arm: ArmResult) -> Cell:
            found = arm.reid.by_attacker.get(name) if arm.reid else None
            return _cell(found and found.excess, percent)

        return cell

    return [_row(name, "", entries, of(name)) for name in names] if len(names) > 1 else []


def _extraction(entries: Sequence[Entry]) -> list[Row]:
    def of(name: str) -> OfArm:
        def cell(arm: ArmResult) -> Cell:
            found = arm.extraction
            return _cell(getattr(found, name, None), percent, why=why_not(found))

        return cell

    def copies(arm: ArmResult) -> Cell:
        found = arm.extraction and arm.extraction.copies
        return _cell(found and found.excess, percent, why=why_not(arm.extraction))

    return [
        _row("Extracted", "generated over and over, and a member's image", entries, of("extracted")),
        _row("The same of strangers", "whom no model saw", entries, of("control")),
        _row("Excess extraction", "the first less the second", entries, of("excess"), True),
        _row(
            "Images extracted",
            "different training images",
            entries,
            lambda arm: _count(arm.extraction.images_extracted if arm.extraction else None),
        ),
        _row("Copies", "samples that are a member's image, repeated or not, beyond strangers'", entries, copies),
    ]


def _membership(entries: Sequence[Entry]) -> list[Row]:
    def asked(ratio: bool, named: bool) -> OfArm:
        def cell(arm: ArmResult) -> Cell:
            attacks = measured(arm.membership)
            attack: Membership | NotMeasured | None = attacks and (attacks.likelihood_ratio if ratio else attacks.loss)
            return _told(measured(attack), named, why_not(arm.membership) or why_not(attack))

        return cell

    rows = []
    for ratio, name in enumerate(("loss threshold", "likelihood ratio")):
        rows.append(_row(f"AUC, {name}", "0.5 is guessing", entries, asked(bool(ratio), named=False)))
        hint = "at 1 % of strangers; guessing names 1 %"
        rows.append(_row(f"Members named, {name}", hint, entries, asked(bool(ratio), named=True)))
    hint = "from samples alone; 0.5 is guessing"
    rows.append(_row("AUC, best match", hint, entries, lambda arm: _told(arm.best_match and arm.best_match.single)))
    rows.append(_row("AUC, best match of means", hint, entries, lambda arm: _told(arm.best_match and arm.best_match.averaged)))
    return rows


def _told(found: Membership | None, named: bool = False, why: str = "") -> Cell:
    """AUC, or the members named, or why there are none."""
    if named:
        rate: Estimate | NotMeasured | None = found and found.tpr_at_1
        return _cell(measured(rate), percent, why=why or why_not(rate))
    return _cell(found and found.auc, decimal, why=why)


def _attributes(entries: Sequence[Entry]) -> list[Row]:
    def worst(arm: ArmResult) -> Cell:
        found = measured(arm.attributes)
        if found is None or found.worst is None or found.worst == WITHHELD:
            return Cell(note=(found.worst or "") if found else why_not(arm.attributes))
        label = found.by_label.get(found.worst)
        return _cell(label and label.advantage, decimal, note=found.worst)

    def half(arm: ArmResult) -> Cell:
        found = measured(arm.attributes)
        guessed = found and found.hidden_half
        return _cell(guessed and guessed.advantage, decimal, why=why_not(arm.attributes))

    return [
        _row("Worst label", "advantage of guessing members' over strangers'", entries, worst),
        _row("Half-hidden picture completed", "the same, of the half that is not shown", entries, half),
    ]


def _coverage(entries: Sequence[Entry]) -> list[Row]:
    """Of arms, and of real images, beside which they stand."""

    def cells(name: str) -> list[Cell]:
        return [_cell(getattr(measured(entry.coverage), name, None), percent, why=why_not(entry.coverage)) for entry in entries]

    return [
        Row("Members near whom a sample lies", "", cells("identities")),
        Row("Precision", "samples that look real", cells("precision")),
        Row("Pictures of members near which a sample lies", "", cells("images")),
    ]


def _adherence(arm: ArmResult) -> Cell:
    found = arm.adherence
    return _cell(found and found.score, decimal, note=(found.model or "") if found else "")


def _fidelity(entries: Sequence[Entry]) -> list[Row]:
    rows = []
    for key in ("fid", "kid"):
        distances: list[Distance | None] = [getattr(entry.fidelity, key, None) for entry in entries]
        named = next(filter(None, distances), None)
        if named:
            hint = "lower is closer; real pictures of as many held-out people are the floor"
            rows.append(Row(fidelity_label(key, named), hint, [_cell(one, decimal, _of_subsets(one)) for one in distances]))
    return rows


def _of_subsets(distance: Distance | None) -> str:
    """How many images; subsets do not grow with them, so that their spread is no interval of the mean."""
    if distance is None:
        return ""
    floor = f"; floor {decimal(distance.floor.value)} (n = {distance.floor.n:,})" if distance.floor else ""
    return f"n = {distance.n:,}" + (f"; spread of subsets of {distance.subset:,}" if distance.subset else "") + floor
