"""Where the released weights come from: `model/lineage.json`, written with the student and checked by `pd verify`."""

import hashlib
import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from pd.config import ModelSettings
from pd.release.checks import Check, judge
from pd.release.files import COMPONENTS, contents, header, learned_from_data
from pd.store.atomic import write_json
from pd.store.files import digest_file, digest_folder

KEPT, PUBLIC = "kept candidates", "nothing (public weights)"
_HUB = re.compile(r"hub [A-Za-z0-9][\w.-]*/[\w.-]+(@[\w./-]+)?")
_FOLDER = re.compile(r"folder [0-9a-f]{16}")
_BUNDLED = re.compile(r"bundled autoencoder ([0-9a-f]{16})")
NAME = "the lineage of every weight reaches only public weights and kept candidates"


def write_lineage(model: Path, settings: ModelSettings, data: Path) -> None:
    """Write `lineage.json` beside a student's components.

    A base on this machine is named by its digest, for its path is nobody's business.

    Args:
        model: the student's diffusers folder, complete.
        settings: how it was built and trained.
        data: the folder of kept candidates it learned from, as it is released.
    """
    base = "scratch" if settings.base is None else base_of(settings)
    trained = {"unet": settings.unet_training, "text_encoder": settings.text_encoder_training}
    origins = {part: (PUBLIC if how == "frozen" else KEPT, base) for part, how in trained.items()}
    if settings.autoencoder == "bundled":
        origins["vae"] = (PUBLIC, bundled_origin(model / "vae"))
    else:
        origins["vae"] = (PUBLIC, base) if settings.autoencoder == "base" else (KEPT, "scratch")
    digest = digest_folder(data)
    lines = {
        part: {"sha256": weights_sha256(model / part), "trained_on": trained_on, "from": source}
        | ({"data_digest": digest} if trained_on == KEPT else {})
        for part, (trained_on, source) in origins.items()
    }
    write_json(model / "lineage.json", lines)


def check_lineage(release: Path, bundled: Collection[str], teacher: Path | None = None) -> Check:
    """Recompute every hash of `model/lineage.json`, and refuse origins other than public weights and kept candidates.

    Args:
        release: the release folder.
        bundled: tensor digests of the autoencoders that pd ships.
        teacher: the teacher's diffusers folder; no weight may come from it.
    """
    model, data = release / "model", release / "data" if learned_from_data(release) else None
    if "student" not in contents(release):
        return Check(NAME, None, "not checked: no model is released")
    try:
        lines = json.loads((model / "lineage.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Check(NAME, False, "model/lineage.json is missing or not JSON")
    held = {path.parent.name for path in model.rglob("*.safetensors")} | set(COMPONENTS)
    if not isinstance(lines, dict) or not all(isinstance(line, dict) for line in lines.values()) or set(lines) != held:
        return Check(NAME, False, "model/lineage.json does not name each component with weights, and no other")
    faults = []
    for part, line in sorted(lines.items()):
        faults += [f"{part}: {fault}" for fault in _faults(model / part, line, data, bundled)]
    if teacher is not None:
        faults += _from_teacher(model, lines, teacher)
    told = ", ".join(f"{part}: {line.get('trained_on')}" for part, line in sorted(lines.items()))
    return judge(NAME, faults, told if teacher else f"{told} (as recorded; not compared with a teacher's weights)")


def weights_sha256(folder: Path) -> str:
    """SHA-256 of a component's safetensors file, or, where it is in shards, of the lines `name sha256`."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return digest_file(files[0])
    lines = "".join(f"{file.name} {digest_file(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def tensor_digest(folder: Path) -> str:
    """16 hex digits over names, types, shapes and bytes of a component's tensors, whatever the order in its file."""
    whole = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        tree = header(file)
        with file.open("rb") as stream:
            start = 8 + int.from_bytes(stream.read(8), "little")
            for name in sorted(tree):
                low, high = tree[name]["data_offsets"]
                stream.seek(start + low)
                whole.update(f"{name} {tree[name]['dtype']} {tree[name]['shape']}\n".encode())
                whole.update(stream.read(high - low))
    return whole.hexdigest()[:16]


def bundled_origin(folder: Path) -> str:
    """How an autoencoder that pd ships is named."""
    return f"bundled autoencoder {tensor_digest(folder)}"


def base_of(settings: ModelSettings) -> str:
    """How a base is named: by its digest, or by its place on the hub."""
    folder = Path(str(settings.base)).expanduser()
    if folder.is_dir():
        return f"folder {digest_folder(folder)}"
    return f"hub {settings.base}" + (f"@{settings.revision}" if settings.revision else "")


def _faults(folder: Path, line: dict[str, Any], data: Path | None, bundled: Collection[str]) -> list[str]:
    faults = []
    trained_on, source = line.get("trained_on"), str(line.get("from"))
    if weights_sha256(folder) != line.get("sha256"):
        faults.append("its weights are not those that were recorded")
    if trained_on not in (KEPT, PUBLIC) or (trained_on == PUBLIC and folder.name == "unet" and source == "scratch"):
        faults.append("it was trained on something other than kept candidates")
    if trained_on == KEPT and data is not None and line.get("data_digest") != digest_folder(data):
        faults.append("it was trained on other data than those in data/")
    if source != "scratch":
        faults += origin_faults(folder, source, bundled, public=trained_on == PUBLIC)
    return faults


def origin_faults(folder: Path, source: str, bundled: Collection[str], *, public: bool) -> list[str]:
    """What is wrong with where a component is said to come from.

    Args:
        folder: of the component.
        source: as recorded.
        bundled: tensor digests of the autoencoders that pd ships.
        public: whether nobody trained it.
    """
    named = _BUNDLED.fullmatch(source)
    if named is None:
        return [] if _HUB.fullmatch(source) or _FOLDER.fullmatch(source) else ["its origin is not known"]
    well = public and _safe_digest(folder) == named[1] and named[1] in bundled
    return [] if well else ["it is not the autoencoder that pd ships"]


def _safe_digest(folder: Path) -> str | None:
    try:
        return tensor_digest(folder)
    except ValueError:
        return None


def _from_teacher(model: Path, lines: dict[str, Any], teacher: Path) -> list[str]:
    """Components that are the teacher's own, or that were fine-tuned from it.

    A component that nobody trained may be the same in both: the public one. Not so the UNet, which is most of a model, and
    of which nothing shows that the teacher left it as it was.
    """
    faults = [
        f"{part}: it is the teacher's"
        for part, line in sorted(lines.items())
        if (line.get("trained_on") == KEPT or part == "unet") and weights_sha256(model / part) == weights_sha256(teacher / part)
    ]
    origin = f"folder {digest_folder(teacher)}"
    return faults + [f"{part}: it comes from the teacher" for part, line in lines.items() if line.get("from") == origin]
