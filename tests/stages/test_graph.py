"""What each stage depends on."""

import pytest

import pd.cli  # noqa: F401  (defines all commands)
from pd.cli.app import app
from pd.config import parse_settings
from pd.pipeline import _settings_of
from pd.stages.graph import BY_NAME, STAGES


@pytest.mark.parametrize("change", ["filter.reid=false", "filter.near_copy_quantile=0.98", "filter.vote=majority"])
def test_a_changed_filter_is_audited_again_even_where_it_drops_the_same(change: str) -> None:
    before, after = (_settings_of(BY_NAME["audit"], parse_settings({}, sets)) for sets in ((), (change,)))
    assert before != after


def test_each_stage_that_an_error_asks_for_is_a_command() -> None:
    """`pd NAME` first, it says."""
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert {stage.name for stage in STAGES} <= commands
