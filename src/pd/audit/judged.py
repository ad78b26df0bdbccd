"""What an audit comes to in words, attack by attack. `pd.report.verdict` makes it."""

from dataclasses import dataclass
from typing import Literal

State = Literal["leak", "borderline", "clear", "trace", "unknown"]
"""`leak`: the interval lies above what chance gives; `borderline`: by less than is shown; `clear`: it does not; `trace`: what
was planted was drawn again, which is of nobody, but shows that the model can remember; `unknown`: not measured, with an
interval so wide that it says nothing, or by an attack too weak for its silence to count."""


@dataclass(frozen=True)
class Told:
    """What one attack found in one released thing.

    Attributes:
        who: `student` or `data`.
        state: see `State`; None: it cannot be asked of it.
        answer: the figure in words.
        sure: its interval, and what cannot be ruled out.
    """

    who: str
    state: State | None
    answer: str
    sure: str = ""


@dataclass(frozen=True)
class Finding:
    """What one attack found in what is released.

    Attributes:
        attack: its name.
        question: what it asks, as somebody asks who is in the data.
        state: the worst of those told.
        told: the student's, then the data's.
        teacher: the same attack's figure for the teacher, which stays private.
    """

    attack: str
    question: str
    state: State
    told: list[Told]
    teacher: str


@dataclass(frozen=True)
class Verdict:
    """The first thing that is read.

    Attributes:
        state: the worse of the released student's and the released data's, each over all attacks.
        title: one sentence.
        lines: (heading, sentences): what leaks, how sure, could the audit have seen it, what it is worth.
        findings: attack by attack, those that were not made too.
    """

    state: State
    title: str
    lines: list[tuple[str, str]]
    findings: list[Finding]
