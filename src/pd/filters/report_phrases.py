"""Free-text reports as prompts: a report is unique, its phrases are not. Those that k people share are kept, as far as sets
of them are shared by k people, too.

Phrases are compared after case and numbers. Names after a title, dates, and what de-identification leaves (`___`, `[** **]`,
XXXX) take their whole phrase with them; other names fall by the rule of k.
"""

import re
from collections import Counter
from collections.abc import Sequence
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
_ENDS = re.compile(r"[;:\n|]|[.,](?!\d)")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SHORTEST = 3  # ours: what is shorter is a rest of an abbreviation
_LONGEST = 60  # ours: characters of a phrase
_MOST = 6  # ours: phrases of a prompt


@dataclass
class Said:
    """What became of the reports.

    Attributes:
        prompts: one for each image.
        kept: phrase -> people, of those that at least k people share.
        lost: how many different phrases fewer people share, or are unfit.
    """

    prompts: list[str]
    kept: dict[str, int] = field(default_factory=dict)
    lost: int = 0


def phrases_in(report: str) -> list[str]:
    """The phrases of a report, each once, in order: in small letters, numbers as `#`, without what may name somebody."""
    text = _DATE.sub(_MARK, _TITLED.sub(_MARK, report))
    found = []
    for part in _ENDS.split(text):
        phrase = " ".join(part.lower().split()).strip(" .,-")
        if _SHORTEST <= len(phrase) <= _LONGEST and not _UNFIT.search(phrase):
            found.append(_NUMBER.sub("#", phrase))
    return list(dict.fromkeys(found))


def report_prompts(reports: Sequence[str], identities: Sequence[str], k: int, subject: str) -> Said:
    """Prompts made of the phrases that k people share; every prompt is that of at least k people, or is `subject` alone.

    An image's phrases, the most shared first, are a path in a tree. Where fewer than k people end at a node, they end at the
    one above it: the rarest phrase is left out.

    Args:
        reports: one for each member image.
        identities: who is in each.
        k: people who must share a phrase, and a prompt.
        subject: what can be said of any image; it begins each prompt.
    """
    said = [phrases_in(report) for report in reports]
    pairs = [(phrase, who) for phrases, who in zip(said, identities, strict=True) for phrase in phrases]
    people = people_with([phrase for phrase, _ in pairs], [who for _, who in pairs])
    kept = {phrase: count for phrase, count in people.items() if count >= k and phrase != subject.lower()}
    paths = [
        tuple(sorted((phrase for phrase in phrases if phrase in kept), key=lambda phrase: (-kept[phrase], phrase))[:_MOST])
        for phrases in said
    ]
    for length in range(_MOST, 0, -1):
        ends = people_with(paths, identities)
        paths = [path[:-1] if len(path) == length and ends[path] < k else path for path in paths]
    prompts = [", ".join((subject, *path)) for path in paths]
    return Said(prompts, dict(Counter(kept).most_common()), len(people) - len(kept))
