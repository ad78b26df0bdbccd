"""Prove that a release holds nothing private, as far as files, pixels, a network and recorded lineage can tell."""

import io
import json
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from pd.config import DataSettings
from pd.dataset.decode import BadImage, Decoded, decode
from pd.dataset.images import Mode, Pixels
from pd.dataset.private import PrivateDataset
from pd.release import labels, rare_words
from pd.release.checks import Check, VerifyReport, judge
from pd.release.classifier import check_classifier
from pd.release.files import check_files, factor_of, text_files
from pd.release.formal import check_formal
from pd.release.formats.choose import check_formats
from pd.release.images import Found, images_in, png_fault, prompts_in, table_faults
from pd.release.lineage import check_lineage, tensor_digest, write_lineage
from pd.release.rare_captions import RareCaptions
from pd.release.real_images import RealImages
from pd.release.real_names import RealNames
from pd.release.sums import check_sums

__all__ = ["Check", "VerifyReport", "verify", "write_lineage"]

Margin = Callable[[Pixels], npt.NDArray[np.float32]]
_BATCH = 256
MAX_SIDE = 1024  # the largest that settings allow
_Resize = Literal["crop", "pad", "stretch"]

BYTES, PIXELS = "no real image, by its bytes", "no real image, by its pixels"
REID, CAPTIONS = "no image is re-identified as a member", "every caption is shared by enough people"
NAMES = "no name of a real image or person"


def verify(
    release: Path,
    against: PrivateDataset | Path | None = None,
    *,
    margin: Margin | None = None,
    k: int = 3,
    teacher: Path | None = None,
    bundled: Collection[str] | None = None,
    said: Sequence[str] = (),
    signer: Path | None = None,
    read: Callable[[Path], PrivateDataset] = PrivateDataset.open,
) -> VerifyReport:
    """Check a release; whatever is wrong is a check that failed, never an exception.

    Args:
        release: the release folder.
        against: the private images, or `private/dataset`; without them nothing is compared with real images.
        margin: (N, H, W, C) uint8 -> (N,) float32, how far the filter's re-identification puts images above its threshold;
            those at 0 and above are re-identified. None: the filter did not use it.
        k: member identities that must share a caption.
        teacher: the teacher's diffusers folder; no weight may come from it.
        bundled: tensor digests of pd's own autoencoders; None: looked up in the package.
        signer: the SSH public key that must have signed the release; None: it need not be signed.
        said: what settings say of any image: words of it may leave, whoever else carries them.
        read: opens `against`, where that is a path: with the labels that the run's settings ask for.

    Raises:
        UserError: `against` holds no private data set.
    """
    folder = against if isinstance(against, Path) else None
    dataset = read(against) if isinstance(against, Path) else against
    real = None if dataset is None else RealImages(dataset, folder)
    return VerifyReport(
        [
            *check_files(release),
            *([formats] if (formats := check_formats(release)) is not None else []),
            *check_sums(release, signer),
            judge("the data are plain tables", table_faults(release), "columns, types and names as pd writes them"),
            *_check_images(release, real, margin),
            *_check_texts(release, dataset, k, said),
            check_lineage(release, _shipped(release / "model" / "vae", bundled), teacher),
            *check_formal(release, _shipped(release / "formal" / "model" / "vae", bundled)),
            *check_classifier(release / "classifier"),
        ]
    )


def _shipped(vae: Path, bundled: Collection[str] | None) -> Collection[str]:
    """Digests of pd's own autoencoders, where there is one to compare."""
    if bundled is None:
        return bundled_digests(vae) if vae.is_dir() else ()
    return bundled


def bundled_digests(vae: Path) -> set[str]:
    """Tensor digests of the autoencoders that pd ships, as a release holds them.

    Args:
        vae: the released autoencoder's folder; its configuration says for which size of pictures it was made.
    """
    from pd.diffusion.autoencoder import bundled  # brings diffusers, which nothing else here needs

    try:
        size = int(json.loads((vae / "config.json").read_text(encoding="utf-8"))["sample_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    if not 0 < size <= MAX_SIDE or size % 8:
        return set()
    digests = set()
    for mode in get_args(Mode):
        with tempfile.TemporaryDirectory() as folder:
            bundled(mode, size).save_pretrained(folder, safe_serialization=True)
            digests.add(tensor_digest(Path(folder)))
    return digests


def _check_images(release: Path, real: RealImages | None, margin: Margin | None) -> list[Check]:
    """One pass over all images: what they are, and whether they are real ones."""
    odd: list[str] = []
    same_bytes: list[str] = []
    same_pixels: list[str] = []
    known: list[str] = []
    count, highest, factor = 0, -np.inf, factor_of(release)
    for batch in _batches(images_in(release)):
        count += len(batch)
        odd += [f"{found.where}: {fault}" for found in batch if (fault := png_fault(found.data))]
        views: list[tuple[str, Pixels]] = []
        for found in batch:
            if real is not None and real.has_bytes(found.data):
                same_bytes.append(found.where)
            try:
                decoded = _decode(found.data, real)
            except BadImage as error:
                odd.append(f"{found.where}: {error.reason}")
                continue
            if real is not None and any(real.has_picture(view.digest) for view in decoded):
                same_pixels.append(found.where)
            views += [(found.where, view.pixels) for view in decoded]
            if found.where.startswith("condensed/data/") and not decoded[0].pixels.shape[0] % factor:
                # what a recipient makes of a stored picture is looked at as the picture is
                from pd.condense.formation import unpack  # brings torch

                views += [(found.where, part) for part in unpack(decoded[0].pixels[None], factor)]
        for names, pixels in _by_shape(views):
            if real is not None:
                same_pixels += [names[i] for i in np.flatnonzero(real.near(pixels)) if names[i] not in same_pixels]
            # Samples of the model with a guarantee are not filtered: a filter looks at members without account.
            filtered = np.array([not name.startswith("formal/") for name in names])
            names, pixels = [name for name, it in zip(names, filtered, strict=True) if it], pixels[filtered]
            if margin is not None and names:
                above = margin(pixels)
                highest = max(highest, float(above.max()))
                # `not <` and not `>=`: a score that is NaN is no proof of anything
                known += [names[i] for i in np.flatnonzero(~(above < 0)) if names[i] not in known]
    compared = f"{count:,} images compared with the real ones"
    without = "not checked: no private data set was given to compare with"
    return [
        judge("the images are plain PNG", odd, f"{count:,} images, no metadata"),
        judge(BYTES, same_bytes, compared) if real else Check(BYTES, None, without),
        judge(PIXELS, same_pixels, f"{compared}, mirrored too") if real else Check(PIXELS, None, without),
        judge(REID, known, f"the most similar one lies {highest:+.3f} from the threshold")
        if margin
        else Check(REID, None, "not checked: no re-identification network was given"),
    ]


def _decode(data: bytes, real: RealImages | None) -> list[Decoded]:
    """An image as the data set would hold it; in each way to make it square, where it is not."""
    if real is None:
        side, mode = _look(data)
        return [decode(data, DataSettings.model_validate({"size": side, "mode": mode}))]
    first = decode(data, real.settings())
    width, height = _size(data)
    ways = [way for way in get_args(_Resize) if way != "crop"] if width != height else []
    return [first, *(decode(data, real.settings(way)) for way in ways)]


def _look(data: bytes) -> tuple[int, str]:
    """Size and mode in which an image is scored when no data set says: its own, as near as settings allow."""
    decode(data, DataSettings(size=16))  # raises BadImage on whatever is not safe to open
    with Image.open(io.BytesIO(data)) as picture:
        side = min(max(min(picture.size) // 8 * 8, 16), 1024)
        return side, "grey" if picture.mode in ("1", "L", "I;16") else "rgb"


def _size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def _check_texts(release: Path, dataset: PrivateDataset | None, k: int, said: Sequence[str]) -> list[Check]:
    if dataset is None:
        without = "not checked: no private data set was given to compare with"
        return [Check(name, None, without) for name in (CAPTIONS, NAMES, labels.NAME, rare_words.NAME)]
    rare = RareCaptions(dataset.captions, dataset.identities, dataset.splits, k)
    ids, people = set(dataset.ids), RealNames(dataset.identities)
    captions, names, rows = [], [], 0
    for where, name, prompt in prompts_in(release):
        rows += 1
        if rare.is_rare(prompt):
            captions.append(f"{where}: its prompt is a caption of fewer than {k} members")
        if name in ids:
            names.append(f"{where} is named like a real image")
    for where, text in text_files(release):
        hits = rare.in_text(text)
        if hits:
            captions.append(f"{where} holds {hits} captions of fewer than {k} members")
        if any(name in text for name in ids):
            names.append(f"{where} names a real image")
        if people.in_text(text, page=where.endswith(".html")):
            names.append(f"{where} names a real person")
    return [
        judge(CAPTIONS, captions, f"{rows:,} prompts; {len(rare):,} captions are shared by fewer than {k} members"),
        judge(NAMES, names, f"{rows:,} rows and all text"),
        labels.check_labels(release, dataset, k),
        rare_words.check_words(release, rare_words.RareWords(dataset, k, said), k),
    ]


def _batches(found: Iterator[Found]) -> Iterator[list[Found]]:
    batch: list[Found] = []
    for item in found:
        batch.append(item)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _by_shape(views: list[tuple[str, Pixels]]) -> Iterator[tuple[list[str], Pixels]]:
    """(names, (N, H, W, C) uint8) for each shape there is."""
    for shape in sorted({pixels.shape for _, pixels in views}):
        same = [(name, pixels) for name, pixels in views if pixels.shape == shape]
        yield [name for name, _ in same], np.stack([pixels for _, pixels in same])
