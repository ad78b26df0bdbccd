import numpy as np
import pytest

from pd.config import ReidSettings
from pd.dataset.images import mirrored
from pd.filters.families import among_members, learn_spaces, taught_by_others
from pd.filters.gallery import build_gallery, load_gallery
from pd.filters.scorer import Scorer
from pd.filters.space_rows import EACH, both_ways
from pd.filters.table import families_of, scored_table
from pd.reid.gallery import Gallery
from pd.reid.network import build, save


@pytest.fixture(scope="module")
def spaces(faces):
    return learn_spaces(["whitened", "gradients"], faces, seed=7)


@pytest.fixture(scope="module")
def folder(faces, spaces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reid")
    network = build(ReidSettings(dim=32), seed=3)
    save(network, folder)
    build_gallery([network.eval()], faces.members(), folder, spaces)
    return folder


def test_the_likeness_is_the_largest_cosine_to_a_member_or_its_mirror_image(faces, spaces, folder):
    members, images = faces.members().images, faces.holdout().images[:16]
    found = Scorer(folder, folder).score(images).families
    assert list(found) == ["gradients", "whitened"]
    for space in spaces:
        rows = space.embed(images)
        brute = np.maximum(rows @ space.embed(members).T, rows @ space.embed(mirrored(members)).T).max(1)
        np.testing.assert_allclose(found[space.kind], brute, atol=1e-5)


def test_members_are_found_mirrored_or_not(faces, folder):
    members = faces.members()
    for images in (members.images[::17], mirrored(members.images[::17])):
        for likeness in Scorer(folder, folder).score(images).families.values():
            np.testing.assert_allclose(likeness, 1, atol=1e-5)


def test_a_member_image_is_compared_with_all_but_itself(faces, spaces, folder):
    members, rows = faces.members(), np.array([0, 57])
    found = Scorer(folder, folder).score(members.images[rows], rows).families["whitened"]
    space = next(space for space in spaces if space.kind == "whitened")
    for place, row in enumerate(rows):
        others = np.delete(both_ways(space, members.images), [EACH * row, EACH * row + 1], axis=0)
        assert found[place] == pytest.approx((others @ space.embed(members.images[row : row + 1])[0]).max(), abs=1e-6)


def test_parts_hold_everybody_once(folder):
    whole, parts = load_gallery(folder), [load_gallery(folder, part=(k, 3)) for k in range(3)]
    assert [len(gallery) for gallery in whole.families] == [EACH * len(whole.ids)] * 2
    for part in parts:
        assert [len(gallery) for gallery in part.families] == [EACH * len(part.ids)] * 2
        assert [space.kind for space in part.spaces] == ["gradients", "whitened"]


def test_nothing_to_score_and_a_picture_of_nothing(faces, spaces, folder):
    scorer = Scorer(folder, folder)
    assert [len(likeness) for likeness in scorer.score(faces.images[:0]).families.values()] == [0, 0]
    for grey in (0, 128):
        for space in spaces:
            rows = space.embed(np.full((1, 32, 32, 1), grey, np.uint8))
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_the_scores_are_columns(faces, folder):
    images = faces.holdout().images[:3]
    table = scored_table(["a", "b", "c"], images, Scorer(folder, folder).score(images))
    assert families_of(table) == ["gradients", "whitened"]
    np.testing.assert_array_equal(
        table["family.whitened"].to_numpy(), Scorer(folder, folder).score(images).families["whitened"]
    )


def test_calibration_people_are_scored_by_what_others_taught(faces, spaces):
    people, members = faces.holdout_half("calibration", 7), faces.members()
    by_others = taught_by_others(["whitened"], people, members, seed=7)["whitened"]
    space = next(space for space in spaces if space.kind == "whitened")
    own = (space.embed(people.images) @ both_ways(space, members.images).T).max(1)
    assert by_others.shape == own.shape
    assert np.corrcoef(by_others, own)[0, 1] > 0.5
    assert not np.allclose(by_others, own, atol=1e-3)


def test_members_are_strangers_to_each_other(faces, spaces):
    members = faces.members()
    who = np.asarray(members.identities)
    own = who == who[0]
    space = next(space for space in spaces if space.kind == "whitened")
    gallery = Gallery(both_ways(space, members.images))
    (found,) = among_members(space, gallery, members, [own])
    brute = (space.embed(members.images[own]) @ both_ways(space, members.images[~own]).T).max(1)
    np.testing.assert_allclose(found, brute, atol=1e-5)
    assert not list(among_members(space, gallery, members, []))
