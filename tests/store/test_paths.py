from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pd.store.paths import inside


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../x.png",
        "a/../../x.png",
        "a/../x.png",
        "http://host/x.png",
        "s3://bucket/x.png",
        "file:///etc/passwd",
        "file:/etc/passwd",
        "data:image/png;base64,AAAA",
        "C:\\x.png",
        "\\\\server\\share\\x.png",
    ],
)
def test_outside(name, tmp_path):
    assert inside(tmp_path.resolve(), name) is None


@pytest.mark.parametrize("name", ["x.png", "a/b/x.png", "./x.png", "12:30.png", "..x.png", "a\0b", "y" * 5000])
def test_inside_whether_there_or_not(name, tmp_path):
    assert inside(tmp_path.resolve(), name) == tmp_path.resolve() / name


def test_links_may_not_lead_out(tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    secret = tmp_path / "secret.png"
    secret.touch()
    (root / "out.png").symlink_to(secret)
    (root / "folder").symlink_to(tmp_path)
    (root / "sub" / "in.png").symlink_to(root / "x.png")
    (root / "loop.png").symlink_to(root / "loop.png")
    assert inside(root.resolve(), "out.png") is None
    assert inside(root.resolve(), "folder/secret.png") is None
    assert inside(root.resolve(), "sub/in.png") is not None
    assert inside(root.resolve(), "loop.png") is not None  # opening it fails, nothing is read


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="a./\\:~ \0", max_size=12))
def test_nothing_escapes(name):
    root = Path("/nonexistent/root")
    found = inside(root, name)
    if found is not None and "\0" not in name:
        assert found.resolve().is_relative_to(root)
