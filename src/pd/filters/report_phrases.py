"""Free-text reports as prompts: a report is unique, its phrases are not. Those that k people share are kept, as far as sets
of them are shared by k people, too.

A sentence that denies something stays whole: its parts would say what it denies ("no effusion, edema" is not "edema").

Phrases are compared after case and numbers. Names after a title, dates, and what de-identification leaves (`___`, `[** **]`,
XXXX) take their whole phrase with them; other names fall by the rule of k.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pd.dataset.shared import people_with

_TITLED = re.compile(r"\b(?:dr|mr|mrs|ms|prof|md)\b\.?\s+\w+", re.IGNORECASE)
_MARK = "___"
_UNFIT = re.compile(
    r"___|\[\*\*|xxxx|\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\b\d{1,2}:\d{2}\b"
    r"|\b(?:january|february|march|april|june|july|august|september|october|november|december)\b",
    re.IGNORECASE,
)
_DATE = re.compile(r"\b\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}\b|\b\d{1,2}:\d{2}\b")
_WRAPPED = re.compile(r"(?<=\S.{39})[ \t]*\r?\n[ \t]*(?=[^\W\d_A-Z])")  # a line that was long enough to be broken
_DENIES = (
    r"no|none|not|nor|neither|without|negative|free of|absen(?:t|ce)|denie[sd]|unlikely|excluded|resolved|removed"
    r"|sin|ning[uú]n[ao]?|ni|kein(?:e|en|er)?|ohne|nicht|sans|pas|aucune?"
)
_DENIED = re.compile(rf"\b(?:{_DENIES})\b", re.IGNORECASE)
_SENTENCES = re.compile(rf"[;\n|]|\.(?!\d)|:(?!\s*(?:{_DENIES}|normal|unremarkable)\b)", re.IGNORECASE)
_COMMA = re.compile(r",(?!\d)")
_SEEN, _ASKED = (
    r"findings?|impressions?|conclusions?|(?:final )?report|opinion",
    r"history|indications?|technique|comparison|exam(?:ination)?",
)
_HEADING = rf"(?:^[ \t]*(?i:{_SEEN}|{_ASKED})[ \t]*(?::|$)|\b(?:{_SEEN.upper()}|{_ASKED.upper()})[ \t]*:)"
_HEADINGS = re.compile(_HEADING, re.MULTILINE)
# What a picture was taken for is no finding: left out where a heading follows that ends it.
_QUESTION = re.compile(rf"(?:^[ \t]*(?i:{_ASKED})|\b(?:{_ASKED.upper()}))[ \t]*:.*?(?={_HEADING})", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SHORTEST = 3  # ours: what is shorter is a rest of an abbreviation
_LONGEST = 100  # ours: characters of a phrase
_MOST = 6  # ours: phrases of a prompt


@dataclass
class Said:
    """What became of the reports.

    Attributes:
        prompts: one for each image.
        kept: phrase -> people, of those that at least k people share.
        rare: phrase -> people, of those that fewer share.
        unfit: how many different ones hold a name, a date or a mark, or are too short or too long.
    """

    prompts: list[str]
    kept: dict[str, int] = field(default_factory=dict)
    rare: dict[str, int] = field(default_factory=dict)
    unfit: int = 0

    @property
    def lost(self) -> int:
        """How many different phrases are left out."""
        return len(self.rare) + self.unfit


def phrases_in(report: str) -> list[str]:
    """The phrases of a report, each once, in order: in small letters, numbers as `#`, without what may name somebody."""
    return [phrase for phrase, fit in _divided(report).items() if fit]


def _divided(report: str) -> dict[str, bool]:
    """The phrases of a report, and whether each is fit to be said."""
    text = _WRAPPED.sub(" ", _DATE.sub(_MARK, _TITLED.sub(_MARK, report)))
    found: dict[str, bool] = {}
    for part in _parts(_HEADINGS.sub("\n", _QUESTION.sub("\n", text))):
        phrase = " ".join(part.lower().split()).strip(" .,-")
        fit = _SHORTEST <= len(phrase) <= _LONGEST and not (_UNFIT.search(phrase) or _DENIED.fullmatch(phrase))
        if phrase:
            found.setdefault(_NUMBER.sub("#", phrase), fit)
    return found


def _parts(text: str) -> Iterator[str]:
    """Sentences that deny something, and what stands between commas of others."""
    for sentence in _SENTENCES.split(text):
        yield from [sentence] if _DENIED.search(sentence) else _COMMA.split(sentence)


def report_prompts(reports: Sequence[str], identities: Sequence[str], k: int, subject: str) -> Said:
    """Prompts made of the phrases that k people share; every prompt is that of at least k people, or is `subject` alone.

    An image's phrases are a path in a tree: what is there before what is denied, of each the most shared first. Where fewer
    than k people end at a node, they end at the one above it: denials are left out first, then the rarest phrase.

    Args:
        reports: one for each member image.
        identities: who is in each.
        k: people who must share a phrase, and a prompt.
        subject: what can be said of any image; it begins each prompt.
    """
    divided = [_divided(report) for report in reports]
    said = [[phrase for phrase, fit in phrases.items() if fit] for phrases in divided]
    unfit = {phrase for phrases in divided for phrase, fit in phrases.items() if not fit}
    pairs = [(phrase, who) for phrases, who in zip(said, identities, strict=True) for phrase in phrases]
    people = people_with([phrase for phrase, _ in pairs], [who for _, who in pairs])
    kept = {phrase: count for phrase, count in people.items() if count >= k and phrase != subject.lower()}

    def order(phrase: str) -> tuple[bool, int, str]:
        return bool(_DENIED.search(phrase)), -kept[phrase], phrase

    paths = [tuple(sorted((phrase for phrase in phrases if phrase in kept), key=order)[:_MOST]) for phrases in said]
    for length in range(_MOST, 0, -1):
        ends = people_with(paths, identities)
        paths = [path[:-1] if len(path) == length and ends[path] < k else path for path in paths]
    # a comma within a phrase is part of what it denies
    prompts = [("; " if any("," in phrase for phrase in path) else ", ").join((subject, *path)) for path in paths]
    rare = {phrase: count for phrase, count in people.items() if phrase not in kept and phrase != subject.lower()}
    return Said(prompts, dict(Counter(kept).most_common()), dict(Counter(rare).most_common()), len(unfit))
