"""Settings from a file and overrides, with one line for what does not fit."""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pd.config.settings import Settings, section_keys
from pd.config.yaml_text import LONGEST_FILE, Unfit, parse_yaml
from pd.errors import UserError

_CREDENTIALS = re.compile(r"://[^@'\"]*@")


def load_settings(path: Path, overrides: Sequence[str] = ()) -> Settings:
    """Settings from a YAML file and `key=value` overrides.

    Raises:
        UserError: the file is missing or no YAML mapping, a key is unknown (the nearest valid one is named), a value does
            not fit, or an override has no `=`.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST_FILE + 1)
    except FileNotFoundError:
        raise UserError("no such settings file", code="no-such-file", where=str(path), fix="`pd init` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"the settings cannot be read ({type(error).__name__})",
            code="unreadable-file",
            where=str(path),
            fix="name a YAML file; `pd init` writes one",
        ) from None
    try:
        if len(text) > LONGEST_FILE:
            raise Unfit(f"more than {LONGEST_FILE} characters")
        tree = parse_yaml(text) or {}
    except Unfit as error:
        raise UserError(
            f"no settings: {error}", code="unreadable-file", where=str(path), fix="mend it, or start from `pd init`"
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        what = error.problem if isinstance(error, yaml.constructor.ConstructorError) else None
        raise UserError(
            what or "not valid YAML",
            code="unreadable-file",
            where=f"{path}{line}",
            fix="mend that line, or start from `pd init`",
        ) from None
    if not isinstance(tree, dict):
        raise UserError(
            "the settings are not a mapping of keys", code="unknown-setting", where=str(path), fix="`pd init` writes an example"
        )
    return parse_settings(tree, overrides, where=str(path))


def parse_settings(tree: dict[str, Any], overrides: Sequence[str] = (), *, where: str = "settings") -> Settings:
    """Settings from a nested mapping and `key=value` overrides; raises UserError as `load_settings` does."""
    tree = _plain_tree(tree, where)
    for override in overrides:
        key, found, value = override.partition("=")
        if not found:
            raise UserError(f"'{override}' has no '='", code="bad-value", where="--set", fix="write --set teacher.steps=200")
        try:
            parsed = parse_yaml(value)
        except (yaml.YAMLError, Unfit):
            parsed = value
        _put(tree, key.strip(), parsed)
    tree = _plain_tree(tree, "--set")
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, where, [override.partition("=")[0].strip() for override in overrides]) from None


def _plain_tree(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """The tree as JSON holds it; raises UserError for keys, numbers and characters that it cannot hold."""
    try:
        text = json.dumps(tree, default=str, ensure_ascii=False)
        text.encode("utf-8")  # YAML may name half a character
        if "\\u0000" in text:
            raise ValueError("a zero byte")
        plain: dict[str, Any] = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        raise UserError(
            "a key or a value that settings cannot hold",
            code="bad-value",
            where=where,
            fix="write keys as words, values as text or numbers",
        ) from None
    return plain


def _put(tree: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted key, refusing one that settings do not have."""
    if key not in set(section_keys()):
        raise _unknown(key, "--set")
    *sections, last = key.split(".")
    for section in sections:
        if tree.get(section) is None:  # also an optional section that the file leaves empty
            tree[section] = {}
        inner = tree[section]
        if not isinstance(inner, dict):
            raise UserError(
                f"'{section}' is not a section", code="unknown-setting", where=key, fix="write it as a mapping of keys"
            )
        tree = inner
    tree[last] = value


def _unknown(key: str, where: str) -> UserError:
    keys = list(section_keys())
    near = difflib.get_close_matches(key, keys, n=1, cutoff=0.0)
    last = difflib.get_close_matches(key.split(".")[-1], [k.split(".")[-1] for k in keys], n=1, cutoff=0.8)
    if last and (not near or difflib.SequenceMatcher(None, key, near[0]).ratio() < 0.8):
        near = difflib.get_close_matches(key, [k for k in keys if k.split(".")[-1] == last[0]], n=1, cutoff=0.0)
    return UserError(
        f"unknown key '{key}'", code="unknown-setting", where=where, fix=f"did you mean '{near[0]}'?" if near else None
    )


def _explain(error: ValidationError, where: str, overridden: Sequence[str]) -> UserError:
    """One line for the first thing that is wrong, blamed on the file or on `--set`."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    own = first.get("ctx", {}).get("error")  # what a validator of ours says
    if any(key == name or key.startswith(f"{name}.") for name in overridden):
        where = "--set"
    if first["type"] == "extra_forbidden":
        return _unknown(key, where)
    more = len(error.errors()) - 1
    tail = f" (and {more} more)" if more else ""
    if own and isinstance(first.get("input"), dict):  # about keys that do not go together, which it names
        return UserError(f"{f'{key}: ' if key else ''}{own}{tail}", code="bad-value", where=where)
    value = _CREDENTIALS.sub("://***@", repr(first.get("input")))
    if len(value) > 60:
        value = value[:57] + "..."
    says = str(own) if own else first["msg"][0].lower() + first["msg"][1:]
    return UserError(f"{key} = {value}: {says}{tail}", code="bad-value", where=where)
