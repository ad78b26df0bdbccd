"""What each stage depends on."""

import pytest

from pd.config import parse_settings
from pd.pipeline import _settings_of
from pd.stages.graph import BY_NAME


@pytest.mark.parametrize("change", ["filter.reid=false", "filter.near_copy_quantile=0.98", "filter.vote=majority"])
def test_a_changed_filter_is_audited_again_even_where_it_drops_the_same(change: str) -> None:
    before, after = (_settings_of(BY_NAME["audit"], parse_settings({}, sets)) for sets in ((), (change,)))
    assert before != after
