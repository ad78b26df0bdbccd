"""The release's README.md: a model and data card in the Hugging Face hub's format."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pd.audit.results import AuditResult
from pd.report import formatting
from pd.report.html import environment
from pd.report.labels import made_by
from pd.report.table import Cell, audit_table
from pd.report.verdict import verdict
from pd.store.atomic import write_bytes

NO_GUARANTEE = "A filtered student carries no formal privacy guarantee."


def write_card(
    out: Path,
    audit: AuditResult,
    *,
    name: str,
    kept: int,
    size: int,
    mode: str,
    prompts: Sequence[str],
    prompt_k: int,
    sampler_steps: int,
    guidance: float,
    base: str | None = None,
    released: Collection[str] = ("student", "data"),
    withheld: Mapping[str, Sequence[str]] | None = None,
    accepted: Mapping[str, Sequence[str]] | None = None,
    from_student: bool = False,
    labels: str | None = None,
    factor: int = 1,
) -> Path:
    """Write `release/README.md`. It tells nothing of the private data but what `audit.json` and the prompts already do.

    Args:
        out: the file.
        audit: its public figures.
        name: what the release is called.
        kept: images in `data/`.
        size: their side, pixels.
        mode: grey or rgb.
        prompts: the prompts in `data/`, each shared by at least `prompt_k` people; the first is the example.
        prompt_k: see above.
        sampler_steps: as the candidates were sampled.
        guidance: likewise.
        base: hub id of the public base, if there is one; never a path of this machine.
        released: what is in the release, of `student` and `data`.
        withheld: what is not, for the audit calls it a leak -> by which attacks.
        accepted: what is released although the audit calls it a leak -> by which attacks.
        from_student: the data are samples of the student, not candidates.
        labels: the method that the private images' labels were worked out by; None: they are as given.
        factor: parts a side of each condensed picture.
    """
    text = (
        environment(autoescape=False)
        .get_template("card.md.j2")
        .render(
            front=yaml.safe_dump(_front(base, kept, released), sort_keys=False, allow_unicode=True).strip(),
            name=_plain(name),
            headline=formatting.headline(audit),
            verdict=verdict(audit),
            table=_table(audit),
            filter=_filter(audit),
            no_guarantee=NO_GUARANTEE,
            kept=kept,
            audited=audit.arms["kept"].n if "kept" in audit.arms else None,
            size=size,
            colour="grey" if mode == "grey" else "RGB",
            prompts=[_plain(prompt) for prompt in list(dict.fromkeys(prompts))[:10]],
            prompt_count=len(set(prompts)),
            example=repr(prompts[0] if prompts else ""),
            prompt_k=prompt_k,
            sampler_steps=sampler_steps,
            guidance=guidance,
            base=base,
            released=released,
            withheld=withheld or {},
            accepted=accepted or {},
            from_student=from_student,
            labels=made_by(labels),
            factor=factor,
        )
    )
    write_bytes(out, text.encode())
    return out


def _front(base: str | None, kept: int, released: Collection[str]) -> dict[str, Any]:
    """The YAML that the hub reads; the licence is for the custodian to fill in."""
    sizes = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    front: dict[str, Any] = {
        "license": "other",
        "license_name": "FILL-IN",
        "license_link": "FILL-IN",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["text-to-image", "stable-diffusion", "diffusers", "synthetic-data", "privacy-distillation"],
        "task_categories": ["text-to-image"],
        "size_categories": [next((label for limit, label in sizes if kept < limit), "n>1M")],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    if "student" not in released:
        del front["library_name"], front["pipeline_tag"]
    if "data" not in released:
        del front["configs"], front["size_categories"]
    return front | ({"base_model": base} if base else {})


def _table(audit: AuditResult) -> list[str]:
    """The audit as lines of a Markdown table; empty when nothing was audited."""
    table = audit_table(audit)
    if not table.columns:
        return []
    lines = ["| Measure | " + " | ".join(_plain(column) for column in table.columns) + " |"]
    lines.append("| --- |" + " ---: |" * len(table.columns))
    for group in table.groups:
        for row in group.rows:
            plain = {"Excess by attacker": "Excess, attacker ", "Membership inference": "Membership: "}
            label = plain.get(group.label, "") + row.label
            cells = " | ".join(_cell(cell, row.strong) for cell in row.cells)
            lines.append(f"| {'**' if row.strong else ''}{_plain(label)}{'**' if row.strong else ''} | {cells} |")
    return lines


def _cell(cell: Cell, strong: bool) -> str:
    if not cell.text:
        return f"– ({_plain(cell.note)})" if cell.note else "–"
    text = f"**{_plain(cell.text)}**" if strong else _plain(cell.text)
    beside = ", ".join(part for part in (cell.interval, cell.note) if part)
    return f"{text} ({_plain(beside)})" if beside else text


def _filter(audit: AuditResult) -> dict[str, Any] | None:
    """Counts of the filter; None unless both are there."""
    found = audit.filter
    if found is None or found.candidates is None or found.kept is None:
        return None
    reasons = ", ".join(f"{_plain(reason)}: {count:,}" for reason, count in sorted((found.dropped or {}).items()))
    return {"made": found.candidates, "kept": found.kept, "reasons": reasons}


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(text.split())
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>|#" else sign for sign in line)
