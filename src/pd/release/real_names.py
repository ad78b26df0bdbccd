"""Finding people's names in text that is to be released."""

import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser

_TOKEN = re.compile(r"[^\s\"'`<>|,;:()\[\]{}=]+")
_CELL = re.compile(r'"([^"\n]{1,200})"|`([^`\n]{1,200})`|\|\s*([^|\n]{1,200}?)\s*(?=\|)')
_NUMBER = re.compile(r"[\d.,+-]+")


class RealNames:
    """Names of identities, as the private data set has them.

    A name with a digit or a sign in it (`s12`, `anna_smith`) counts wherever it stands as a word. One of letters alone may be a
    word like any other: it counts where it stands alone, in quotes, in a table's cell or in an element of a page. One of
    digits alone cannot be told from a figure, and is not looked for.

    Args:
        names: of people.
    """

    def __init__(self, names: Iterable[str]) -> None:
        found = {name.strip() for name in names}
        found = {name for name in found if len(name) > 1 and not _NUMBER.fullmatch(name)}
        self._alone = {name for name in found if name.isalpha()}
        self._anywhere = found - self._alone
        self._long = {name for name in self._anywhere if _TOKEN.fullmatch(name) is None}

    def in_text(self, text: str, page: bool = False) -> int:
        """How many of the names stand in a text.

        Args:
            text: Markdown, JSON or whatever people read.
            page: it is HTML: its text and the words of its attributes count, its style and its drawings do not.
        """
        pieces = list(_Page(text).pieces) if page else [text]
        words = {token for piece in pieces for found in _TOKEN.findall(piece) for token in (found, found.strip(".!?*_#-"))}
        alone = {piece.strip() for piece in pieces} if page else set(_cells(text))
        long = {name for name in self._long if any(name in piece for piece in pieces)}
        return len(self._anywhere & words | self._alone & alone | long)


class _Page(HTMLParser):
    """The words of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._style = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._style = tag == "style"
        self.pieces += [value for name, value in attrs if value and name not in ("d", "class")]

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if not self._style:
            self.pieces.append(data)

    def handle_comment(self, data: str) -> None:
        self.pieces.append(data)


def _cells(text: str) -> Iterator[str]:
    for groups in _CELL.findall(text):
        yield from (piece for piece in groups if piece)
