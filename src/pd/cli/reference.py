"""`python -m pd.cli.reference docs`: the pages settings.md, commands.md and errors.md of docs/, made from the code itself."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pd.cli.app import app
from pd.config.settings import Settings
from pd.error_codes import MEANINGS

_MADE = "This page is generated from the code by `make docs`; do not edit it.\n"


def settings_page() -> str:
    """Every key of a settings file, its default and its meaning."""
    lines = ["# Settings", "", _MADE, "`pd init FILE` writes them all with these words. Override one by `--set KEY=VALUE`.", ""]
    lines += _section("", Settings)
    return "\n".join(lines).rstrip() + "\n"


def commands_page() -> str:
    """Every command with its options."""
    lines = ["# Commands", "", _MADE, "`pd COMMAND --help` shows the same.", ""]
    group: Any = typer.main.get_command(app)
    context = typer.Context(group, info_name="pd")
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        lines += [f"## pd {name}", "", f"`{' '.join(['pd', name, *command.collect_usage_pieces(context)])}`", ""]
        lines += [_paragraphs(command.help or ""), ""]
        rows = list(_options(command))
        if rows:
            lines += ["| option | meaning |", "| --- | --- |", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def errors_page() -> str:
    """Every code of an error and its meaning."""
    lines = ["# Error codes", "", _MADE, "`pd` prints the code at the end of its line; in Python it is `UserError.code`.", ""]
    rows = [f"| `{code}` | {_cell(meaning)} |" for code, meaning in sorted(MEANINGS.items())]
    return "\n".join([*lines, "| code | meaning |", "| --- | --- |", *rows]) + "\n"


def _options(command: Any) -> Iterator[str]:
    for one in command.params:
        words = _cell(getattr(one, "help", None) or "")
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts)) if one.param_type_name == "option" else ""
        if "--help" in names:
            continue
        shown = names or f"`{one.metavar or one.name.upper()}`"
        plain = isinstance(one.default, int | float | str) and not isinstance(one.default, bool) and one.default != ""
        yield f"| {_cell(shown)} | {words}{f' (default: {one.default})' if plain else ''} |"


def _section(prefix: str, model: type[BaseModel], held: object = None) -> list[str]:
    """A table of a section's own keys, then its sections.

    Args:
        prefix: what stands before the keys.
        model: the section.
        held: the section as it is by default; None: it may be left out, and the defaults are those of its keys.
    """
    rows, inner = [], []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        if (found := _model_of(field)) is not None:
            inner += ["", f"## {key}", "", _cell((found.__doc__ or "").splitlines()[0]), ""]
            inner += _section(f"{key}.", found, _value(field, name, held))
        else:
            rows.append(f"| `{key}` | {_default(field, name, held)} | {_cell(field.description or '')} |")
    return (["| key | default | meaning |", "| --- | --- | --- |", *rows] if rows else []) + inner


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that a field holds, also where it may be left out."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _value(field: FieldInfo, name: str, held: object) -> Any:
    return getattr(held, name) if held is not None else field.get_default(call_default_factory=True)


def _default(field: FieldInfo, name: str, held: object) -> str:
    if field.is_required():
        return ""
    plain = _plain(_value(field, name, held))
    text = yaml.safe_dump(plain, default_flow_style=True, width=10**6).strip().removesuffix("...").strip()
    return f"`{_cell(text)}`"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "settings.md").write_text(settings_page(), encoding="utf-8")
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")
    (folder / "errors.md").write_text(errors_page(), encoding="utf-8")
