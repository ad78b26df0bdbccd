"""What plots hold: lines, points with whiskers and rows of intervals, each with the table that says the same in figures.

The templates draw them as SVG in the page's own colours; nothing here knows of pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pd.audit.estimate import Estimate
from pd.report.formatting import decimal, percent

FORMS: Mapping[str, Callable[..., str]] = {"percent": percent, "decimal": decimal}


@dataclass(frozen=True)
class Interval:
    """One row of a forest plot; low and high equal the value when there is no interval."""

    label: str
    kind: str
    value: float
    low: float
    high: float
    text: str
    interval: str

    @property
    def words(self) -> str:
        """'3.0 % (1.0 to 5.0 %)'."""
        return f"{self.text} ({self.interval})" if self.interval else self.text


@dataclass(frozen=True)
class Forest:
    """Intervals on one axis.

    Attributes:
        name: what the plot's parts are named after in the page.
        title: what it shows, for those who cannot see it.
        axis: what the axis measures.
        rows: from top to bottom.
        form: percent or decimal.
        reference: the value that means nothing was found; a line stands there.
    """

    name: str
    title: str
    axis: str
    rows: Sequence[Interval]
    form: str = "percent"
    reference: float = 0.0

    @property
    def low(self) -> float:
        return min(self.reference, *(row.low for row in self.rows))

    @property
    def high(self) -> float:
        high = max(self.reference, *(row.high for row in self.rows))
        return max(high + 0.05 * (high - self.low), self.low + 0.05)


@dataclass(frozen=True)
class Line:
    """Points that are joined; `kind` picks colour and dashes."""

    label: str
    kind: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A point with a whisker (low to high), the words that show when one points at it, and the side its label must stand on."""

    label: str
    kind: str
    x: float
    y: float
    low: float
    high: float
    words: Sequence[str]
    to_left: bool = False


@dataclass(frozen=True)
class Stop:
    """A place along the axis to point at, and what stands there."""

    x: float
    words: Sequence[str]


@dataclass(frozen=True)
class Chart:
    """Lines and points over two axes.

    Attributes:
        name: what the plot's parts are named after in the page.
        title: what it shows, for those who cannot see it.
        x_axis, y_axis: what the axes measure.
        x, y: from where to where they go.
        x_ticks, y_ticks: (place, words); every second is left out on narrow pages.
        lines, marks: what is drawn.
        stops: what shows when one points at the plot.
        at: a place on the axis with a line of its own, and its words.
        columns, rows: the same as a table.
    """

    name: str
    title: str
    x_axis: str
    y_axis: str
    x: tuple[float, float]
    y: tuple[float, float]
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]
    lines: Sequence[Line] = ()
    marks: Sequence[Mark] = ()
    stops: Sequence[Stop] = ()
    at: tuple[float, str] | None = None
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default=())


def interval(label: str, kind: str, value: Estimate | float | None, form: str = "percent") -> Interval | None:
    """A row of a forest plot; None without a value."""
    if value is None:
        return None
    words = FORMS[form]
    if not isinstance(value, Estimate):
        return Interval(label, kind, value, value, value, words(value), "")
    ends = f"{words(value.low).removesuffix(' %')} to {words(value.high)}"
    return Interval(label, kind, value.value, value.low, value.high, words(value.value), ends)
