"""`pd screen --real --clips`: anybody's clips of video screened for forgeries."""

from collections.abc import Sequence
from pathlib import Path

from pd.config import parse_settings
from pd.dataset.clips import list_clips
from pd.errors import UserError
from pd.progress import Reporter
from pd.stages.screen import Found, screen_listed
from pd.store.atomic import disk_errors


def screen_clips(
    real: Path, forged: Path | None, clips: Path, out: Path, overrides: Sequence[str], reporter: Reporter
) -> Found:
    """Score the clips of a place.

    Args:
        real: clips known to be real, by person.
        forged: clips known to be forged, by generator; None: made from the real ones.
        clips: what is screened.
        out: becomes a folder with `clips.csv`, `screen.html`, `figures.json`. What was stopped resumes from `.OUT.work`.
        overrides: settings as `key=value`.
        reporter: reports progress.

    Raises:
        UserError: clips that cannot be used for it.
    """
    settings = parse_settings({"data": {"reader": "video"}, "screen": {}}, overrides, where="pd screen")
    assert settings.screen is not None
    if out.exists() and not (out.is_dir() and (out / "clips.csv").exists()):
        raise UserError("holds other things than a screening", code="other-files", where=str(out), fix="name a new folder")
    work = out.absolute().parent / f".{out.name}.work"
    listed = list_clips(real, settings.data, needs_identity=False, names_people=True)
    made = list_clips(forged, settings.data, needs_identity=False) if forged is not None else None
    asked = list_clips(clips, settings.data, needs_identity=False)
    with disk_errors(out):
        return screen_listed(listed, made, asked, settings, settings.screen, work, out, None, reporter)
