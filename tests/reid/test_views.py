"""What recognisers see: each view does to a picture what its name says, and the same seed shows the same."""

import numpy as np
import pytest
import torch
from refusals import refused_as

from pd.config import ReidSettings, parse_settings
from pd.config.recognisers import VIEWS
from pd.reid.views import HIDDEN, check_views, draw_views, see, seen


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(40, 216, (12, 32, 32, 1), dtype=np.uint8)


def test_clear_is_the_picture_and_a_resolution_is_what_area_and_stretching_give(pictures) -> None:
    assert (seen(pictures, "clear", 1) == pictures).all()
    small = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(small, size=8, mode="area")
    wanted = torch.nn.functional.interpolate(small, size=32, mode="bilinear").permute(0, 2, 3, 1).numpy()
    assert np.abs(seen(pictures, "8x8", 1).astype(float) - wanted).max() <= 1


@pytest.mark.parametrize("view", HIDDEN)
def test_a_hidden_part_is_gone_and_the_rest_is_as_it_was(pictures, view) -> None:
    found = seen(pictures, view, 3)
    changed = (found != pictures)[..., 0].mean((1, 2))
    assert (changed > 0.05).all()
    assert (changed < 0.8).all()
    if view == "masked":
        assert (found[:, :12] == pictures[:, :12]).all()  # the eyes are seen
    if view == "half hidden":
        assert np.abs(changed - 0.5).max() < 0.02
    # What is hidden has no trace of the picture: two pictures under the same draws agree there.
    drawn = draw_views([view], 1, (1, 32, 32), torch.Generator().manual_seed(3))
    two = [see(drawn, torch.full((1, 1, 32, 32), level)) for level in (-0.5, 0.5)]
    assert ((two[0] - two[1]).abs() < 1e-6)[drawn["cover"] == 1].all()


@pytest.mark.parametrize("view", [*VIEWS, "12x12"])
def test_the_same_seed_shows_the_same(pictures, view) -> None:
    assert (seen(pictures, view, 3) == seen(pictures, view, 3)).all()
    assert seen(pictures[:0], view, 3).shape == (0, 32, 32, 1)
    colour = np.repeat(pictures, 3, axis=3)
    assert seen(colour, view, 3).shape == colour.shape


def test_shifts_do_as_they_are_called(pictures) -> None:
    assert seen(pictures, "low contrast", 1).std() < 0.5 * pictures.std()
    assert np.abs(np.diff(seen(pictures, "blurred", 1).astype(int), axis=1)).mean() < 20
    assert seen(np.full_like(pictures, 128), "noisy", 1).std() > 30


def test_resolutions_above_the_pictures_are_refused() -> None:
    check_views(("clear", "32x32"), 32, "here")
    with refused_as("bad-size", "'40x40'", "32x32"):
        check_views(("clear", "40x40"), 32, "here")


def test_a_method_is_a_name_or_a_model_and_absent_it_changes_nothing() -> None:
    plain, named = parse_settings({}), parse_settings({}, ["reid.method=crrcd"])
    assert "method" not in plain.model_dump()["reid"]
    assert plain.digest() == parse_settings({"reid": {"method": None, "teacher": None}}).digest() != named.digest()
    both = parse_settings({}, ["reid.method=[supcon, {name: aird, views: [clear, 8x8]}]", "reid.networks=2"]).reid
    assert [one.name for one in both.methods] == ["supcon", "aird"]
    assert both.voters == 4
    assert ReidSettings.model_validate(both.model_dump(mode="json")) == both
    with refused_as("bad-value", "reid.method"):
        parse_settings({}, ["reid.method=supercon"])
    with refused_as("bad-value", "'8x9'"):
        parse_settings({}, ["reid.method={name: crrcd, views: [8x9]}"])
