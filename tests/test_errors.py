"""Errors have codes that scripts can rely on."""

import ast
import pickle
from pathlib import Path
from typing import get_args

from terminal import pd_here

from pd.error_codes import MEANINGS, Code
from pd.errors import LeakError, UserError

SOURCES = sorted((Path(__file__).parents[1] / "src").rglob("*.py"))
KINDS = {"UserError", "LeakError", "UndecidedError", "GaveUpError"}


def raised():
    """(file, code or None) of every error that the sources make; a code that is passed on is left out."""
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in KINDS:
                code = next((key.value for key in node.keywords if key.arg == "code"), None)
                if code is None or isinstance(code, ast.Constant):
                    yield file, code.value if code else None


def test_every_error_says_its_code_and_every_code_is_used_and_explained():
    found = list(raised())
    assert len(found) > 400
    assert [file.name for file, code in found if code is None] == []
    assert {code for _, code in found} == set(get_args(Code)) == set(MEANINGS)


def test_the_code_survives_the_way_from_a_worker():
    error = pickle.loads(pickle.dumps(LeakError("it leaks", code="leak", where="release", fix="filter more")))
    assert (type(error), error.code, error.where, error.fix) == (LeakError, "leak", "release", "filter more")
    assert UserError("of somebody's own attacker").code == "bad-value"


def test_the_command_line_prints_the_code_last(tmp_path):
    done = pd_here("run", tmp_path / "nowhere.yaml")
    assert done.returncode == 2
    assert done.stderr.rstrip().endswith("(no-such-file)")
    assert done.stderr.count("\n") == 1
