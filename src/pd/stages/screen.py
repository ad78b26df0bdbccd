"""Screen: which clips look forged, as a list and a page. Nothing is dropped here; `data.drop_flagged` lets ingest do it."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pd.config import ScreenSettings, Settings
from pd.dataset.clips import Clip, Clips, list_clips
from pd.engine.fit import fit
from pd.engine.map_images import Mapper
from pd.engine.shared_folder import in_bucket
from pd.engine.stream.make import Crew
from pd.errors import UserError
from pd.forgery.page import Row, write_found
from pd.forgery.screen import Screened, screen
from pd.forgery.windows import Footage
from pd.progress import Reporter
from pd.stages.base import Facts
from pd.stages.footage import Entry, clip_settings, read_footage
from pd.store.atomic import write_folder
from pd.store.context import Context
from pd.store.files import digest_file
from pd.store.run import Run


@dataclass(frozen=True)
class Found:
    """What a screening says.

    Attributes:
        rows: a row a clip, the most suspicious first, those that could not be scored last.
        lines: what a reader must know.
        flagged: ids of the clips that are flagged.
        facts: counts, for the record.
    """

    rows: tuple[Row, ...]
    lines: tuple[str, ...]
    flagged: tuple[str, ...]
    facts: Facts


def execute(context: Context) -> Facts:
    return screen_data(context, context.run.screen).facts


def screen_data(context: Context, out: Path) -> Found:
    """Screen the clips of a run's data.

    Raises:
        UserError: clips that cannot be used for it.
    """
    settings, run = context.settings, context.run
    how, path = settings.screen, settings.data.path
    assert how is not None
    if path is None or in_bucket(path):
        what = "no clips are named" if path is None else "clips in a bucket are not screened"
        raise UserError(what, code="bad-options", where="data.path", fix="name a folder or manifest of this machine")
    asked = list_clips(path, settings.data)
    real = list_clips(how.real, settings.data) if how.real is not None else asked
    forged = list_clips(how.forged, needs_identity=False) if how.forged is not None else None
    found = screen_listed(real, forged, asked, settings, how, run.work / "screen", out, run, context.reporter)
    for line in found.lines:
        context.reporter.say(f"  {line}")
    return found


def screen_listed(
    real: Clips,
    forged: Clips | None,
    asked: Clips,
    settings: Settings,
    how: ScreenSettings,
    work: Path,
    out: Path,
    run: Run | None,
    reporter: Reporter,
) -> Found:
    """Screen clips that are listed, and write `out`, whole or not there.

    Args:
        real: known to be real, or taken for it (the same as `asked`).
        forged: known to be forged; None: made from the real ones.
        asked: what is screened.
        settings: seed, address, and how images are decoded.
        how: the section `screen`.
        work: frames and trainings, kept for going on.
        out: becomes a folder with `clips.csv`, `screen.html` and `figures.json`.
        run: what is worked on, if it is a run.
        reporter: reports progress.

    Raises:
        UserError: clips that cannot be used for it.
    """
    data = clip_settings(how, settings.data)
    crew = Crew(how.workers, how.gpus_per_worker, settings.address, "screen")

    def read(listed: Clips, name: str) -> tuple[Footage, list[Entry]]:
        with reporter.task(f"{name} clips") as progress:
            return read_footage(listed, data, Mapper(work / f"{name}-shards", crew, run), work / name, progress)

    own = real is asked
    footage, entries = read(asked, "asked")
    _require_one(footage, entries, how, "clip", asked.where)
    natural, unread = (footage, list[Entry]()) if own else read(real, "real")
    if not own:
        _require_one(natural, unread, how, "real clip", real.where)
    known, kinds = None, list[str]()
    unread_forged: list[Entry] = []
    if forged is not None:
        known, unread_forged = read(forged, "forged")
        kinds = [_kind(entry) for entry in unread_forged if entry.row is not None]
    mapper = Mapper(work / "features", crew, run)
    with reporter.task("learning what is natural") as progress:
        found = screen(
            natural,
            known,
            kinds,
            footage,
            how,
            fit=lambda task, training: fit(task, training, work / "trainings", progress),
            seed=settings.seed,
            maps=mapper,
        )
    mapper.done()
    rows = _rows(found, entries, how)
    lines = [
        *_lines(found, rows, own, known is not None, how, _unused(natural, unread, how), _unused(known, unread_forged, how)),
        *_doubts(real, forged, asked),
    ]
    with write_folder(out) as folder:
        write_found(rows, lines, found, footage, {entry.clip.id: entry.row for entry in entries}, how, folder)
    flagged = tuple(row.id for row in rows if row.flagged)
    facts: Facts = {
        "clips": len(rows),
        "flagged": len(flagged),
        "not_scored": sum(row.score is None for row in rows),
        "real_people": found.learned[0],
        "auc_unseen": float(np.mean([one.auc for one in found.expected])),
    }
    return Found(tuple(rows), tuple(lines), flagged, facts)


def _unused(footage: Footage | None, entries: list[Entry], how: ScreenSettings) -> Counter[str]:
    """Why clips teach nothing, counted."""
    short = int((footage.lengths < how.window).sum()) if footage is not None else 0
    return Counter(_bad(entries)) + Counter({_short(how): short})


def _short(how: ScreenSettings) -> str:
    return f"shorter than a window of {how.window} frames"


def _require_one(footage: Footage, entries: list[Entry], how: ScreenSettings, what: str, where: str) -> None:
    """Raises UserError, before anything is trained, where no clip has a window."""
    if (footage.lengths >= how.window).any():
        return
    why, fix = _unused(footage, entries, how), "give clips that show something"
    if _short(how) in why:
        fix = "give longer clips, or a smaller screen.window or higher screen.rate"
    raise UserError(f"no {what} can be used ({_counted(why)})", code="too-few-images", where=where, fix=fix)


def _doubts(real: Clips, forged: Clips | None, asked: Clips) -> list[str]:
    """What was not looked at, and what makes figures better than they are: people whom nobody names, clips that are known."""
    lines = []
    if asked.ignored:
        lines.append(f"left out, no clips by their name: {_counted(Counter(asked.ignored))}")
    if not any(clip.identity for clip in real.clips):
        what = "nobody names the people of the real clips, so each clip counts as a person"
        lines.append(f"{what}: who is in several may be learned from and measured by, which flatters the errors")
    for known, word in ((real, "real"), (forged, "forged")):
        if known is not None and known is not asked and (both := _known(asked, known)):
            lines.append(f"{both} of the screened clips are among the {word} ones given: their scores say nothing")
    return lines


def _known(asked: Clips, known: Clips) -> int:
    """How many clips show seconds of files that are among the known ones, under whatever name. Files of one size are read."""
    wanted = {clip.file.stat().st_size for clip in asked.clips if clip.file is not None and clip.file.is_file()}
    digests: dict[Path, str] = {}

    def content(clip: Clip) -> str | None:
        if clip.file is None or not clip.file.is_file() or clip.file.stat().st_size not in wanted:
            return None
        if clip.file not in digests:
            digests[clip.file] = digest_file(clip.file)
        return digests[clip.file]

    there: defaultdict[str, list[Clip]] = defaultdict(list)
    for clip in known.clips:
        if (digest := content(clip)) is not None:
            there[digest].append(clip)
    sizes = {clip.file.stat().st_size for clips in there.values() for clip in clips if clip.file is not None}
    wanted &= sizes
    return sum(any(clip.meets(other) for other in there.get(content(clip) or "", ())) for clip in asked.clips)


def _kind(entry: Entry) -> str:
    named = entry.clip.labels.get("method")
    return str(named) if named else entry.clip.identity or "forged"


def _bad(entries: list[Entry]) -> list[str]:
    return [entry.why.partition(" (")[0] for entry in entries if entry.row is None]


def _rows(found: Screened, entries: list[Entry], how: ScreenSettings) -> list[Row]:
    """A row a clip, the most suspicious first."""
    rows = []
    for entry in entries:
        clip = entry.clip
        score = float(found.scores[entry.row]) if entry.row is not None else float("nan")
        if not np.isfinite(score) or entry.row is None:
            why = entry.why if entry.row is None else _short(how)
            rows.append(Row(clip.id, clip.name, clip.identity, None, False, None, None, 0, why))
            continue
        flagged, windows = found.flagged(entry.row), found.windows[entry.row]
        errors = found.false_alarms(score), found.missed(score)
        rows.append(Row(clip.id, clip.name, clip.identity, score, flagged, *errors, windows, entry.why))
    return sorted(rows, key=lambda row: (row.score is None, -(row.score or 0.0), row.name))


def _lines(
    found: Screened, rows: list[Row], own: bool, given: bool, how: ScreenSettings, bad: Counter[str], bad_forged: Counter[str]
) -> list[str]:
    """What a reader must know."""
    flagged, unscored = (
        sum(row.flagged for row in rows),
        Counter(row.notes.partition(" (")[0] for row in rows if row.score is None),
    )
    people, clips = found.learned
    missed = ", ".join(f"{one.kind} {one.missed:.0%} of {one.clips}" for one in found.expected)
    auc = ", ".join(f"{one.kind} {one.auc:.2f}" for one in found.expected)
    few = len(found.real) < 1 / how.false_alarms - 1
    whose = "the screened clips themselves, taken for real: a forgery was learned as natural" if own else "real clips"
    made = "forgeries made from the real clips"
    used, why = any(not one.made for one in found.expected), "none of those given can be used" if given else "none were given"
    from_what = f"the forged clips given, and {made}" if used else f"{made} alone: {why}"
    return [
        f"{flagged} of {len(rows)} clips are flagged, for a person to look at; nothing is dropped by it",
        f"natural motion learned from {clips} clips of {people} people ({whose}); the head from {from_what}",
        f"missed of a kind that the head had not seen: {missed}; AUC: {auc}",
        "a forgery by a generator that is of none of these kinds may be missed more often, or always",
        *(
            [
                f"{len(found.real)} real clips measure the threshold: too few to hold false alarms to {how.false_alarms:.0%}; "
                f"of new real clips about {1 / (1 + len(found.real)):.0%} will be flagged"
            ]
            if few
            else []
        ),
        *([f"not scored: {_counted(unscored)}"] if unscored else []),
        *([f"real clips not used: {_counted(bad)}"] if bad and not own else []),
        *([f"forged clips not used: {_counted(bad_forged)}"] if bad_forged else []),
    ]


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
