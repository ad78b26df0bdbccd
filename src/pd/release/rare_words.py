"""Words that too few members share, in captions, values and names of columns, and finding them in the files of a release."""

import ast
import html
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import pd
from pd.dataset.private import PrivateDataset
from pd.release.checks import Check, judge
from pd.release.files import entries, header

NAME = "no word that few people share"
_WORD = re.compile(r"[^\W_]+")
_SHORTEST = 3  # letters; shorter words stand in any text
_SURE = 6  # bytes; shorter ones turn up among others by chance
_LIBRARIES = (  # where the words of a model's configuration and the names of its tensors come from
    ("diffusers", "models/**/*.py"),
    ("diffusers", "schedulers/scheduling_*.py"),
    ("diffusers", "configuration_utils.py"),
    ("transformers", "models/clip/*.py"),
    ("transformers", "configuration_utils.py"),
    ("transformers", "tokenization_utils_base.py"),
)


class RareWords:
    """The words of a private data set that fewer than k members carry.

    A member carries the words of his captions, of the values of his text columns, and of the names of columns in which he has a
    value (of numbers: other than 0). Case and Unicode normalisation do not matter. Numbers, and words of one or two letters,
    cannot be told from what stands in any text and are not looked for; nor are words that pd itself writes.

    Args:
        data: the private data set, hold-out people too: what they alone carry nobody carries.
        k: members who must carry a word.
        said: texts whose words may leave whoever carries them: the caption that is said of any image.
    """

    def __init__(self, data: PrivateDataset, k: int, said: Iterable[str] = ()) -> None:
        people: dict[str, set[str]] = defaultdict(set)
        for text, identities in _carried(data).items():
            for word in words(text):
                people[word] |= identities
        free = {word for text in said for word in words(text)}
        self._rare = {
            word
            for word, who in people.items()
            if len(who) < k and len(word) >= _SHORTEST and not word.isnumeric() and word not in free
        }
        self._bytes = {word.encode() for word in self._rare if len(word.encode()) >= _SURE}

    def __len__(self) -> int:
        return len(self._rare)

    def in_texts(self, texts: Iterable[str], *, library: bool = False) -> int:
        """How many different ones stand in some texts, but for words that pd writes.

        Args:
            texts: names, values or running text.
            library: words of diffusers and transformers do not count either: the texts describe a model.
        """
        found = {word for text in texts for word in words(text)} & self._rare
        if found:
            found -= _own_words()
        if found and library:
            found -= _library_words()
        return len(found)

    def in_bytes(self, data: bytes) -> int:
        """How many of the longer ones stand in encoded bytes as they are, but for words that pd writes."""
        lower = data.lower()
        found = {word.decode() for word in self._bytes if word in lower}
        return len(found - _own_words()) if found else 0


def check_words(release: Path, rare: RareWords, k: int) -> Check:
    """Every file of a release, searched for rare words: names of columns and tensors, metadata, JSON and text.

    Args:
        release: the release folder.
        rare: the words to look for.
        k: members who must carry a word.
    """
    faults, read = [], 0
    for path in entries(release):
        name = path.relative_to(release).as_posix()
        vocabulary = name.startswith("model/tokenizer/") and path.stem in ("vocab", "merges", "tokenizer")
        if path.is_symlink() or not path.is_file() or vocabulary:
            continue
        try:
            hits = rare.in_texts(texts_of(path), library=name.startswith("model/"))
            hits = hits or (rare.in_bytes(footer(path)) if path.suffix == ".parquet" else 0)
        except (pa.ArrowException, OSError, ValueError, RecursionError):
            continue  # that it cannot be read is named by another check
        read += 1
        if hits:
            faults.append(f"{name} holds {hits} words of fewer than {k} members")
    return judge(NAME, faults, f"{read:,} files, {len(rare):,} words")


def words(text: str) -> list[str]:
    """The words of a text, in one case and one normalisation."""
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def texts_of(path: Path) -> Iterator[str]:
    """What can be read in a file of a release: text, names and values of JSON, names of tensors, all that tables say in words.

    The pixels of pictures, the values of tensors and the vocabulary of a tokenizer are not read.
    """
    if path.suffix == ".parquet":
        yield from _of_table(path)
    elif path.suffix == ".safetensors":
        yield from header(path)
    elif path.suffix == ".json":
        yield from _of_json(json.loads(path.read_text(encoding="utf-8", errors="replace")))
    elif path.suffix == ".html":
        yield html.unescape(path.read_text(encoding="utf-8", errors="replace"))
    elif path.suffix in (".md", ".txt"):
        yield path.read_text(encoding="utf-8", errors="replace")


def footer(path: Path) -> bytes:
    """The last bytes of a Parquet file, which describe its columns: their names, statistics and metadata."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 8, 0))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(size - 8 - length, 0))
        return file.read(length)


def _carried(data: PrivateDataset) -> dict[str, set[str]]:
    """Text -> the members who carry it; texts of nobody are there, too."""
    found: dict[str, set[str]] = defaultdict(set)
    identities, member = data.identities, [split == "member" for split in data.splits]
    for values in (data.captions, *data.texts.values()):
        for text, who, counts in zip(values, identities, member, strict=True):
            if text:
                found[text] |= {who} if counts else set()
    for name, texts in data.texts.items():
        found[name] |= {who for text, who, counts in zip(texts, identities, member, strict=True) if text and counts}
    for name, numbers in data.labels.items():
        carries = np.flatnonzero(np.nan_to_num(numbers) != 0)
        found[name] |= {identities[int(row)] for row in carries if member[int(row)]}
    return found


def _of_json(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            yield key
            yield from _of_json(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _of_json(entry)
    elif isinstance(value, str):
        yield value


def _of_table(path: Path) -> Iterator[str]:
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        yield file.metadata.created_by or ""
        for told in (file.metadata.metadata, schema.metadata, *(field.metadata for field in schema)):
            for key, value in (told or {}).items():
                yield key.decode("utf-8", "replace")
                if key != b"ARROW:schema":  # the same once more, encoded
                    yield value.decode("utf-8", "replace")
        yield from schema.names
        strings = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
        for batch in file.iter_batches(columns=strings):
            for column in batch.columns:
                yield from (text for text in column.unique().to_pylist() if text)


@lru_cache(maxsize=1)
def _own_words() -> frozenset[str]:
    """Words that pd may write into a release: of its templates, and of the texts in its code that are no docstrings."""
    root = Path(pd.__file__).parent
    found: set[str] = set()
    for path in sorted((root / "report" / "templates").rglob("*.*")):
        found |= set(words(path.read_text(encoding="utf-8")))
    for path in sorted(root.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                found |= set(words(node.value))
            elif isinstance(node, ast.keyword | ast.AnnAssign):  # settings and figures are named so
                name = node.arg if isinstance(node, ast.keyword) else getattr(node.target, "id", "")
                found |= set(words(name or ""))
    return frozenset(found)


@lru_cache(maxsize=1)
def _library_words() -> frozenset[str]:
    """Words in the code that writes configurations and names tensors."""
    found: set[str] = set()
    for package, pattern in _LIBRARIES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            for path in sorted(Path(folder).glob(pattern)):
                found |= set(words(path.read_text(encoding="utf-8", errors="replace")))
    return frozenset(found)
