"""Models with a guarantee whose section left the settings: the release no longer holds them, and nothing is lost."""

import shutil
from collections.abc import Callable
from pathlib import Path

from pd.config import Settings
from pd.store.atomic import disk_errors
from pd.store.kept import at_hand, discard, keep_folder
from pd.store.mirror import bytes_of
from pd.store.run import Run


def set_aside(run: Run, settings: Settings, say: Callable[[str], None]) -> None:
    """Move released models that the settings no longer ask for to `private/set_aside`, and those asked for again back.

    What a model spent stays spent, and making it again would spend as much once more.

    Args:
        run: of the release.
        settings: as they are now.
        say: tells people.

    Raises:
        UserError: the disk is full, or the bucket cannot be written.
    """
    for name, released in (("formal", run.formal), ("classifier", run.classifier)):
        aside, asked = run.private / "set_aside" / name, getattr(settings, name) is not None
        if not asked and _there(released):
            _move(released, aside)
            say(f"  {released.relative_to(run.root)} is set aside in private/: the settings have no section `{name}`")
        elif asked and _there(aside) and not _there(released):
            _move(aside, released)


def _there(folder: Path) -> bool:
    return folder.is_dir() or bytes_of(folder) is not None


def _move(source: Path, target: Path) -> None:
    with keep_folder(target) as folder, disk_errors(folder):
        shutil.copytree(at_hand(source), folder, dirs_exist_ok=True)
    discard(source)
