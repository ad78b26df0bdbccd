"""One way to write a name: Unicode's composed form (NFC), so that nobody is two people by how an `é` is encoded."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from pd.dataset.readers.source import BadRow, Row, Source, plain
from pd.errors import UserError


def normal(source: Source) -> Source:
    """The same source with identities, captions, and names and values of labels in NFC; paths stay as they are.

    Raises:
        UserError: two columns have one name then.
    """
    names = {name: _composed(name) for name in source.labels}
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise UserError(
            f"two columns are called '{plain(twice)}', encoded differently",
            code="bad-name",
            where=source.where,
            fix="rename one (Unicode NFC)",
        )

    def rows() -> Iterator[Row | BadRow]:
        for row in source.rows():
            yield row if isinstance(row, BadRow) else _row(row)

    return replace(source, labels={names[name]: kind for name, kind in source.labels.items()}, rows=rows)


def alike(identities: Iterable[str]) -> list[list[str]]:
    """Groups of identities, perhaps one person each: they differ by case, spaces, leading zeros or compatibility form."""
    groups: dict[str, list[str]] = defaultdict(list)
    for identity in sorted(set(identities)):
        folded = "".join(unicodedata.normalize("NFKC", identity).casefold().split())
        groups[re.sub(r"(?<!\d)0+(?=\d)", "", folded)].append(identity)
    return [group for group in groups.values() if len(group) > 1]


def _row(row: Row) -> Row:
    labels = {_composed(name): _composed(value) if isinstance(value, str) else value for name, value in row.labels.items()}
    caption = None if row.caption is None else _composed(row.caption)
    return replace(row, identity=_composed(row.identity), caption=caption, labels=labels)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)
