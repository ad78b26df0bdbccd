"""Release: bring what the audit does not call a leak into `release/`; what leaks stays where it is. The card says so."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from pd.audit.results import AuditResult, load
from pd.report.verdict import verdict
from pd.stages.base import Facts
from pd.store.atomic import disk_errors, write_folder, write_json
from pd.store.context import Context
from pd.store.mirror import remove
from pd.store.run import Run

STUDENT, DATA = "student", "data"


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
    leaks = leaking(load(run.audit))
    sources: dict[str, tuple[Path, Path]] = {STUDENT: (run.student, run.model)}
    if settings.data != "none":
        sources[DATA] = (run.student_data if settings.data == "student" else run.kept, run.data)
    withheld = {who: attacks for who, attacks in leaks.items() if who in sources and not settings.accept_leak}
    for path in (run.model, run.data, run.contents):  # of an earlier release, whose audit said something else
        remove(path)
        if path.exists():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for who, (source, target) in sources.items():
        if who not in withheld:
            with write_folder(target) as folder, disk_errors(folder):
                shutil.copytree(source, folder, dirs_exist_ok=True)
    released = [who for who in sources if who not in withheld]
    if released != [STUDENT, DATA] or settings.data != "kept":
        write_json(run.contents, {"released": released, "data": settings.data})
    accepted = {who: attacks for who, attacks in leaks.items() if who in released}
    write_json(run.decision, {"released": released, "withheld": withheld, "accepted": accepted, "data": settings.data})
    for line in words_of(withheld, accepted):
        context.reporter.say(f"  {line}")
    return {"released": " and ".join(released) or "nothing"}


def words_of(withheld: Mapping[str, list[str]], accepted: Mapping[str, list[str]]) -> list[str]:
    """Lines for people."""
    lines = [f"the {who} leaks ({', '.join(attacks)}) and stays in private/" for who, attacks in withheld.items()]
    return lines + [f"the {who} leaks ({', '.join(attacks)}) and is released: accepted" for who, attacks in accepted.items()]


def decided(run: Run) -> list[str]:
    """What the last release withheld, or gave away although it leaks, in lines for people."""
    try:
        decision = json.loads(run.decision.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return words_of(decision["withheld"], decision["accepted"])
