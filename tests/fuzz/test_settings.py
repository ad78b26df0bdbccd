"""Settings of any shape and any text: they fit, or one line says why not."""

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pd.config import Settings, commented_yaml, load_settings, parse_settings, section_keys
from pd.errors import UserError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers() | st.dates(), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(sorted(section_keys()))


def fit_or_refused(call):
    """Anything else that is raised fails the test."""
    with contextlib.suppress(UserError):
        assert isinstance(call(), Settings)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)) | st.text(max_size=5), VALUES, max_size=4))
def test_any_mapping(tree):
    fit_or_refused(lambda: parse_settings(tree))


@settings(max_examples=150, deadline=None)
@given(KEYS, st.text(max_size=30) | VALUES.map(lambda value: yaml.safe_dump(value, default_flow_style=True)))
def test_any_override(key, value):
    fit_or_refused(lambda: parse_settings({}, [f"{key}={value}"]))


@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=60))
def test_any_text(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode())
    fit_or_refused(lambda: load_settings(path))


@pytest.mark.parametrize("caption", ["a\nb\n", "x " * 200, "- x: [", "...", "\u2028", "\x1b[2J", "'\"", "", " a ", "# a"])
def test_any_caption_survives_being_written(caption, tmp_path):
    path = tmp_path / "pd.yaml"
    path.write_text(commented_yaml(parse_settings({"data": {"caption": caption}})), encoding="utf-8")
    assert load_settings(path).data.caption == caption


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "unfolds to more"),
        ("data: &d [*d]\n", "unfolds to more"),
        ("data: " + "[" * 3000, "nested too deeply"),
        ("seed: 2020-99-99\n", "not what it seems"),
        ("seed: !!int abc\n", "not what it seems"),
        ("? [a]\n: b\n", "not valid YAML|unhashable"),
        ("2020-01-01: x\n", "cannot hold"),
        ('data: {caption: "\\ud800"}\n', "cannot hold|not valid"),
        ('data: {path: "a\\0b"}\n', "cannot hold"),
        ("seed: " + "9" * 5000 + "\n", "not what it seems"),
        ("x" * (1 << 21), "more than"),
        ("data: !!python/object/apply:os.system [ls]\n", "constructor"),
    ],
    ids=lambda text: text[:12],
)
def test_yaml_that_means_harm(text, message, tmp_path):
    path = tmp_path / "pd.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_settings(path)


def test_names_for_parts_may_be_used(tmp_path):
    path = tmp_path / "pd.yaml"
    path.write_text("teacher: &model {steps: 5}\nstudent:\n  <<: *model\n  batch: 8\n")
    found = load_settings(path)
    assert (found.teacher.steps, found.student.steps, found.student.batch) == (5, 5, 8)
