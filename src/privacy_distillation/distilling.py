"""The whole method from Python."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pd.config import load_settings, parse_settings
from pd.pipeline import run_pipeline
from pd.store.run import Run
from privacy_distillation.inputs import as_overrides, reporter


def distil(
    settings: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, progress: bool = True
) -> Run:
    """Do what `pd run` does: teacher, candidates, filter, student, audit, release.

    Args:
        settings: a settings file, or the same as nested mappings.
        overrides: keys that replace those of the settings, such as `{"teacher.steps": 200}`.
        progress: show it.

    Returns:
        The run: `run.release` is what may be shared, `run.private / "report.html"` the page for whoever decides.

    Raises:
        UserError: bad settings or data; the same call resumes after it is mended, or after Ctrl-C.
        LeakError: nothing is left that could be released.
    """
    given = as_overrides(overrides)
    if isinstance(settings, Mapping):
        chosen = parse_settings(dict(settings), given, where="distil")
    else:
        chosen = load_settings(Path(settings), given)
    return run_pipeline(chosen, reporter(progress))
