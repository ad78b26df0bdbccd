"""The images that an option names: opened as they lie or by a reader, and what was made of them removed afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pd.config import DataSettings
from pd.dataset.cache import forget_images
from pd.dataset.readable import Readable, bring_in, reading
from pd.errors import UserError
from pd.progress import Reporter
from pd.store.places import Place


@contextmanager
def given_images(images: str, data: DataSettings, folder: Path, reporter: Reporter) -> Iterator[Readable]:
    """The images that `--images` names, for as long as a command works on them.

    Args:
        images: a folder, a file, `s3://`, or, where `data.reader` is huggingface, a hub id.
        data: how they are read; by what lies there where it says nothing.
        folder: for what a reader brings in. It goes afterwards, also after bad input; it stays when the command is stopped or
            killed, so that the same command finds it.
        reporter: reports progress, and what was not taken.

    Raises:
        UserError: they cannot be read.
    """
    place = Place.parse(images)
    how = reading(place, data)
    try:
        yield Readable.as_it_lies(place) if how is None else brought_in(place, how, folder, reporter)
    except UserError:
        _forget(folder)
        raise
    _forget(folder)


def brought_in(
    place: Place,
    how: DataSettings,
    folder: Path,
    reporter: Reporter,
    draw: tuple[int, int] | None = None,
    *,
    foreign: bool = False,
) -> Readable:
    """`bring_in`, reported; `foreign`: the settings' columns are about other images."""
    with reporter.task("reading") as progress:
        found = bring_in(place, how, folder, progress, foreign_columns=foreign, draw=draw)
    for line in found.lines:
        reporter.say(f"  {line}")
    return found


def _forget(folder: Path) -> None:
    if folder.exists():
        forget_images(folder)
        with suppress(OSError):  # other things are in it
            folder.parent.rmdir()
