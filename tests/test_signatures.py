"""Rooms hand typed values to each other: nothing is dug out of a mapping of anything by a string, but at JSON's edge."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pd

ROOT = Path(pd.__file__).parent
ANYTHING = ("dict[str, Any]", "Mapping[str, Any]")
EDGES: dict[str, str] = {}


def _signatures(path: Path) -> Iterator[tuple[str, str]]:
    """Public functions, methods and fields of a module, and the source of what they are annotated with."""

    def of(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
        for node in body:
            name = getattr(node, "name", None) or ast.unparse(getattr(node, "target", ast.Constant("")))
            if name.startswith("_"):
                continue
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                parts = [node.returns, *(argument.annotation for argument in arguments)]
                yield prefix + name, " ".join(ast.unparse(part) for part in parts if part)
            elif isinstance(node, ast.ClassDef):
                yield from of(node.body, f"{prefix}{name}.")
            elif isinstance(node, ast.AnnAssign) and prefix:
                yield prefix + name, ast.unparse(node.annotation)

    yield from of(ast.parse(path.read_text(encoding="utf-8")).body, "")


def _untyped() -> Iterator[str]:
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        for name, annotation in _signatures(path):
            if any(anything in annotation for anything in ANYTHING):
                yield f"{module}:{name}"


def test_a_mapping_of_anything_crosses_no_border_but_at_jsons_edge() -> None:
    found = set(_untyped())
    assert found - set(EDGES) == set(), "give it a type, or name the edge and its reason"
    assert set(EDGES) - found == set(), "these edges are no more"
