"""A settings file that explains itself."""

import yaml
from pydantic import BaseModel

from pd.config.settings import Settings


def commented_yaml(settings: Settings | None = None) -> str:
    """A settings file with every key, its value and what it means; `pd init` writes it."""
    lines = ["# Settings of a pd run. Every key is optional; what stands here is the default."]
    _comment(settings or Settings(), 0, lines)
    return "\n".join(lines) + "\n"


def _comment(section: BaseModel, depth: int, lines: list[str]) -> None:
    pad = "  " * depth
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            lines.append("" if depth == 0 else f"{pad}# {(type(value).__doc__ or '').splitlines()[0]}")
            if depth == 0:
                lines.append(f"# {(type(value).__doc__ or '').splitlines()[0]}")
            lines.append(f"{pad}{name}:")
            _comment(value, depth + 1, lines)
            continue
        plain = section.model_dump(mode="json", include={name}).get(name)
        # on one line, whatever it holds: what goes on in a second one is no part of the value any more
        style = '"' if isinstance(plain, str) and not plain.isprintable() else None
        text = yaml.safe_dump(plain, default_flow_style=True, default_style=style, width=float("inf"))
        text = text.strip().removesuffix("...").strip()
        lines.append(f"{pad}{name}: {text}" + (f"  # {field.description}" if field.description else ""))
