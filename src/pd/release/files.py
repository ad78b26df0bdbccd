"""The files of a release: only those that belong there, each of the kind that its name says, none of them pickled."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pd.release.checks import Check, judge
from pd.release.pages import page_fault

COMPONENTS = ("unet", "vae", "text_encoder")
_ALLOWED = re.compile(
    r"README\.md|report\.html|(audit|contents)\.json|SHA256SUMS(\.sig)?|data/[\w-][\w.-]*\.parquet"
    r"|model/(model_index|lineage)\.json"
    r"|model/(unet|vae|text_encoder)/(config\.json|generation_config\.json"
    r"|(model|diffusion_pytorch_model)(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?)"
    r"|model/scheduler/scheduler_config\.json"
    r"|condensed/(sheet\.png|data/[\w-][\w.-]*\.parquet)"
    r"|imagefolder/([\w.-]+\.png|metadata\.jsonl)|webdataset/shard-\d{5}\.tar|dicom/[\w.-]+\.dcm"
    r"|model/tokenizer/(vocab|tokenizer|tokenizer_config|special_tokens_map|added_tokens)\.json|model/tokenizer/merges\.txt"
)
CONTENTS = "contents.json"
"""Says what is in a release, where that is not both student and kept candidates."""
CONDENSED = "condensed set"
MOST_PARTS = 8  # a side of a condensed picture
_FORMAL = re.compile(
    r"formal/(claim|ledger|lineage)\.json|classifier/((claim|ledger|lineage|config)\.json|README\.md|model\.(safetensors|onnx))"
)
_NEEDED = ("README.md", "audit.json", "model/model_index.json", "model/lineage.json")
_PICKLED_NAMES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".h5", ".msgpack")
_PICKLED_STARTS = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04|PK\x05\x06|\x1f\x8b|\x93NUMPY|\x89HDF")
_DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_MAX_HEADER = 100 << 20
_TENSOR = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
_BLOB = re.compile(r"data:[a-z]+/|[A-Za-z0-9+/_-]{256}")


def entries(release: Path) -> list[Path]:
    """Everything in a release that is no folder: files hidden or not, links, sockets; sorted by name."""
    found = (path for path in release.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(found, key=lambda path: path.relative_to(release).as_posix())


def _allowed(name: str) -> bool:
    """Whether a file of this name belongs in a release; `formal/` has the same files as the release itself, and its ledger;
    `classifier/` a ledger, too."""
    plain = name.removeprefix("formal/")
    both = plain == name or plain.startswith(("model/", "data/")) or plain == "README.md"
    return bool((both and _ALLOWED.fullmatch(plain)) or _FORMAL.fullmatch(name))


def text_files(release: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of files that could hold words from the data: all text but the tokenizer's vocabulary."""
    for path in entries(release):
        name = path.relative_to(release).as_posix()
        vocabulary = "model/tokenizer/" in name and path.stem in ("vocab", "merges", "tokenizer")
        if path.suffix in (".md", ".html", ".json", ".jsonl", ".txt") and not path.is_symlink() and not vocabulary:
            yield name, path.read_text(encoding="utf-8", errors="replace")


def contents(release: Path) -> list[str]:
    """What a release should hold, of `student`, `data` and `condensed set`: the first two, unless `contents.json` says more."""
    try:
        told = json.loads((release / CONTENTS).read_text(encoding="utf-8"))["released"]
        return [part for part in ("student", "data", CONDENSED) if part in told]
    except (OSError, ValueError, KeyError, TypeError):
        return [] if of_guarantees(release) else ["student", "data"]


def of_guarantees(release: Path) -> bool:
    """Whether all that a release holds is a formal model or a classifier: nobody has made the rest, or wants it."""
    rest = ("model", "data", "condensed", "audit.json", CONTENTS)
    return any((release / part / "claim.json").is_file() for part in ("formal", "classifier")) and not any(
        (release / name).exists() for name in rest
    )


def factor_of(release: Path) -> int:
    """Parts a side of the condensed pictures, as `contents.json` says; 1 where it says none."""
    try:
        factor = json.loads((release / CONTENTS).read_text(encoding="utf-8"))["factor"]
        return factor if isinstance(factor, int) and 1 <= factor <= MOST_PARTS else 1
    except (OSError, ValueError, KeyError, TypeError):
        return 1


def learned_from_data(release: Path) -> bool:
    """Whether the data of a release are those that its student learned from."""
    try:
        told = json.loads((release / CONTENTS).read_text(encoding="utf-8"))
        return "data" in told["released"] and told["data"] == "kept"
    except (OSError, ValueError, KeyError, TypeError):
        return True


def check_files(release: Path) -> list[Check]:
    """The file checks: all there, none besides, nothing pickled, each of its kind, weights sound."""
    paths = entries(release)
    names = [path.relative_to(release).as_posix() for path in paths]
    parts = contents(release)
    needed = [name for name in _NEEDED if "student" in parts or not name.startswith("model/")]
    needed = [] if of_guarantees(release) else needed
    missing = [f"{name} is missing" for name in needed if name not in names]
    if "data" in parts and not any(name.startswith("data/") for name in names):
        missing.append("data/ holds no file")
    if CONDENSED in parts and not any(name.startswith("condensed/data/") for name in names):
        missing.append("condensed/data/ holds no file")
    for part, folder in (("data", "data"), ("student", "model"), (CONDENSED, "condensed")):
        if part not in parts and (release / folder).exists():
            missing.append(f"{folder}/ is there, and {CONTENTS} says that it is not")
    needed_parts = COMPONENTS if "student" in parts else ()
    weightless = [part for part in needed_parts if not any((release / "model" / part).glob("*.safetensors"))]
    missing += [f"no weights in model/{part}" for part in weightless]
    return [judge("the release is complete", missing, f"{len(names)} files"), *_check_each(paths, names)]


def check_part(folder: Path, part: str) -> list[Check]:
    """The same checks, but for what must be there, of a part of a release that lies by itself.

    Args:
        folder: of the part.
        part: what it is called in a release: `formal` or `classifier`.
    """
    paths = entries(folder)
    return _check_each(paths, [f"{part}/{path.relative_to(folder).as_posix()}" for path in paths])


def _check_each(paths: list[Path], names: list[str]) -> list[Check]:
    """What each file of a release may be, by its name in there."""
    strange = [
        f"{name} is a link" if path.is_symlink() else f"{name} does not belong in a release"
        for path, name in zip(paths, names, strict=True)
        if path.is_symlink() or not path.is_file() or not _allowed(name)
    ]
    plain = [(path, name) for path, name in zip(paths, names, strict=True) if path.is_file() and not path.is_symlink()]
    pickled = [fault for path, name in plain if (fault := _pickled(path, name))]
    unsound = [fault for path, name in plain if (fault := _kind(path, name))]
    weights = [path for path, _ in plain if path.suffix == ".safetensors"]
    return [
        judge("only files that belong in a release", strange, f"{len(names)} files, all expected"),
        judge("weights are safetensors, nothing is pickled", pickled, f"{len(weights)} files of weights"),
        judge("every file is what its name says", unsound, "text, pages, JSON, Parquet and safetensors parse"),
    ]


def header(path: Path) -> dict[str, Any]:
    """The checked header of a safetensors file: tensor -> `{dtype, shape, data_offsets}`.

    Read here rather than by the library, which accepts what no weights need: metadata of any content.

    Raises:
        ValueError: it is no sound safetensors file; the message says why.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_MAX_HEADER, size - 8):
            raise ValueError("no safetensors header")
        try:
            tree = json.loads(file.read(length))
        except ValueError:
            raise ValueError("its header is not JSON") from None
    if not isinstance(tree, dict):
        raise ValueError("its header is no mapping")
    if tree.pop("__metadata__", {}) not in ({}, {"format": "pt"}):
        raise ValueError("its header carries metadata other than the format")
    spans = sorted(_span(name, entry) for name, entry in tree.items())
    end = 0
    for low, high in spans:
        if low != end:
            raise ValueError("its tensors overlap or leave gaps")
        end = high
    if not spans or end != size - 8 - length:
        raise ValueError("it holds bytes that belong to no tensor, or none at all")
    return tree


def _span(name: str, entry: Any) -> tuple[int, int]:
    try:
        low, high = entry["data_offsets"]
        fits = high - low == math.prod(entry["shape"]) * _DTYPES[entry["dtype"]] and 0 <= low <= high
    except (KeyError, TypeError, ValueError):
        fits = False
    if not fits or not _TENSOR.fullmatch(name):
        raise ValueError("a tensor's entry is not sound")
    return int(low), int(high)


def _pickled(path: Path, name: str) -> str | None:
    if path.suffix.lower() in _PICKLED_NAMES:
        return f"{name} may be unpickled by who opens it"
    with path.open("rb") as file:
        start = file.read(8)
    # a safetensors file begins with its header's length, whose low byte can be anything: its header tells
    if path.suffix == ".safetensors":
        return None if _sound(path) is None else f"{name} is no safetensors file"
    return f"{name} begins like a pickle or an archive" if _PICKLED_STARTS.match(start) else None


def _sound(path: Path) -> str | None:
    try:
        header(path)
    except ValueError as error:
        return str(error)
    return None


def _kind(path: Path, name: str) -> str | None:
    """What is wrong with the content of a file, or None."""
    if path.suffix == ".safetensors":
        fault = _sound(path)
        return f"{name}: {fault}" if fault else None
    if path.suffix == ".parquet":
        with path.open("rb") as file:
            start = file.read(4)
            file.seek(max(path.stat().st_size - 4, 0))
            return None if start == file.read(4) == b"PAR1" else f"{name} is not Parquet"
    if path.suffix not in (".json", ".md", ".html", ".txt"):
        return None  # named already as not belonging here
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            json.loads(text)
    except (UnicodeDecodeError, ValueError):
        return f"{name} is not {'JSON' if path.suffix == '.json' else 'text'}"
    if path.suffix == ".html" and (fault := page_fault(text)):
        return f"{name} {fault}"
    if "model/tokenizer/" not in name and _BLOB.search(text):
        return f"{name} holds encoded data"
    return None
