"""Captions that too few people share, and finding them in prompts and in running text."""

import re
from collections import defaultdict
from collections.abc import Sequence

_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r'["`“]([^"`”\n]{1,200})["`”]')
_LINE = re.compile(r"^[\s>*#-]*(.{1,200}?)\s*$", re.MULTILINE)
_SHORT = 3
Words = tuple[str, ...]


class RareCaptions:
    """Captions of a private data set that fewer than k member identities share.

    Compared by their words, whatever the case and punctuation.

    Args:
        captions: (N) of all real images, hold-out ones too: those have no member at all.
        identities: who is in each.
        splits: `member` or `holdout` of each.
        k: people that must share a caption.
    """

    def __init__(self, captions: Sequence[str], identities: Sequence[str], splits: Sequence[str], k: int) -> None:
        people: dict[Words, set[str]] = defaultdict(set)
        for caption, identity, split in zip(captions, identities, splits, strict=True):
            people[_words(caption)] |= {identity} if split == "member" else set()
        people.pop((), None)
        self._rare = {words for words, who in people.items() if len(who) < k}
        self._public = set(people) - self._rare
        self._lengths = sorted({len(words) for words in people if len(words) >= _SHORT}, reverse=True)

    def __len__(self) -> int:
        return len(self._rare)

    def is_rare(self, prompt: str) -> bool:
        """Whether a prompt is such a caption."""
        return _words(prompt) in self._rare

    def in_text(self, text: str) -> int:
        """How often such a caption stands in a text.

        A caption inside a longer public one does not count; one of fewer than 3 words counts only where it stands
        alone: on a line, or in quotes.
        """
        words = _words(text)
        hits, place = 0, 0
        while place < len(words):
            step = 1
            for length in self._lengths:
                piece = words[place : place + length]
                if len(piece) == length and (piece in self._rare or piece in self._public):
                    hits += piece in self._rare
                    step = len(piece)
                    break
            place += step
        alone = {_words(piece) for pattern in (_QUOTED, _LINE) for piece in pattern.findall(text)}
        return hits + sum(len(words) < _SHORT and words in self._rare for words in alone)


def _words(text: str) -> Words:
    return tuple(_WORD.findall(text.casefold()))
