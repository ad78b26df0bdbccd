"""Release: bring what the audit does not call a leak into `release/`; what leaks stays where it is. The card says so."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pd.audit.results import AuditResult, load
from pd.config import Settings
from pd.release.files import CONDENSED
from pd.report.formatting import excess
from pd.report.verdict import state_of, verdict
from pd.stages.base import Facts
from pd.store.atomic import disk_errors, write_folder, write_json
from pd.store.context import Context
from pd.store.kept import discard
from pd.store.run import Run

STUDENT, DATA = "student", "data"
UNTOLD = "not shown to be clear"
WORSE = "worse than the kept pictures"


def leaking(audit: AuditResult) -> dict[str, list[str]]:
    """`student` and `data` -> the attacks whose finding is a leak; what leaks nowhere is left out."""
    found: dict[str, list[str]] = {}
    for finding in verdict(audit).findings:
        for told in finding.told:
            if told.state == "leak":
                found.setdefault(told.who, []).append(finding.attack)
    return found


def execute(context: Context) -> Facts:
    run, settings = context.run, context.settings.release
    audit = load(run.audit)
    leaks, condense = leaking(audit), context.settings.condense
    sources: dict[str, tuple[Path, Path]] = {STUDENT: (run.student, run.model)}
    if settings.data != "none":
        sources[DATA] = (run.student_data if settings.data == "student" else run.kept, run.data)
    if condense is not None:
        sources[CONDENSED] = (run.condensed, run.release_condensed)
        if doubts := doubted(audit):
            leaks[CONDENSED] = [*leaks.get(CONDENSED, []), *doubts]
    withheld = {who: attacks for who, attacks in leaks.items() if who in sources and not _accepted(who, context.settings)}
    # Of an earlier release, whose audit said something else.
    discard(run.model, run.data, run.release_condensed, run.contents)
    for who, (source, target) in sources.items():
        if who not in withheld:
            with write_folder(target) as folder, disk_errors(folder):
                shutil.copytree(source, folder, dirs_exist_ok=True)
    released = [who for who in sources if who not in withheld]
    if released != [STUDENT, DATA] or settings.data != "kept":
        factor = {"factor": condense.factor} if condense is not None and CONDENSED in released else {}
        write_json(run.contents, {"released": released, "data": settings.data, **factor})
    accepted = {who: attacks for who, attacks in leaks.items() if who in released}
    write_json(run.decision, {"released": released, "withheld": withheld, "accepted": accepted, "data": settings.data})
    for line in words_of(withheld, accepted):
        context.reporter.say(f"  {line}")
    return {"released": " and ".join(released) or "nothing"}


def _accepted(who: str, settings: Settings) -> bool:
    """Whether settings release this although it leaks."""
    if who == CONDENSED and settings.condense is not None:
        return settings.condense.accept_leak
    return settings.release.accept_leak


def doubted(audit: AuditResult) -> list[str]:
    """Why the condensed pictures stay private although no attack is called a leak: "privacy for free" was refuted.

    Their excess lies above the kept pictures', intervals apart, or the audit cannot tell.
    """
    doubts = []
    mine, kept = excess(audit, "condensed"), excess(audit, "kept")
    if mine and kept and mine.low > kept.high:
        doubts.append(WORSE)
    if state_of(audit, "condensed") not in ("clear", "leak"):
        doubts.append(UNTOLD)
    return doubts


def words_of(withheld: Mapping[str, list[str]], accepted: Mapping[str, list[str]]) -> list[str]:
    """Lines for people."""
    lines = [f"the {who} {_why(attacks)} and stays in private/" for who, attacks in withheld.items()]
    return lines + [f"the {who} {_why(attacks)} and is released: accepted" for who, attacks in accepted.items()]


def _why(attacks: list[str]) -> str:
    """What is wrong with it: a leak, or a doubt alone."""
    return f"leaks ({', '.join(attacks)})" if set(attacks) - {UNTOLD, WORSE} else f"is {' and '.join(attacks)}"


def decided(run: Run) -> list[str]:
    """What the last release withheld, or gave away although it leaks, in lines for people."""
    try:
        decision = json.loads(run.decision.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return words_of(decision["withheld"], decision["accepted"])
