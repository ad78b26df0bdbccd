import numpy as np
import pytest
from refusals import refused_as

from pd.config import ReidSettings
from pd.dataset.images import mirrored
from pd.filters.descriptor import describe
from pd.filters.gallery import build_gallery, load_gallery
from pd.filters.near_copy import POSES
from pd.filters.scorer import Scorer, most_similar, scorer_digest
from pd.reid.embed import embed
from pd.reid.network import build, load, save, save_all


@pytest.fixture(scope="module")
def folder(faces, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reid")
    network = build(ReidSettings(dim=32), seed=3)
    save(network, folder)
    build_gallery([network.eval()], faces.members(), folder)
    return folder


def test_members_find_themselves_mirrored_or_not(faces, folder):
    members = faces.members()
    some = slice(0, 200, 17)
    for images in (members.images[some], members.images[some, :, ::-1]):
        scores = Scorer(folder, folder).score(images)
        assert scores.nearest == members.ids[some]
        assert scores.near_copy_nearest == members.ids[some]
        np.testing.assert_allclose(scores.score, 1, atol=1e-5)
        np.testing.assert_allclose(scores.near_copy, 1, atol=1e-5)
        assert scores.score.dtype == scores.near_copy.dtype == np.float32


def test_scores_do_not_depend_on_company(faces, folder):
    scorer, images = Scorer(folder, folder), faces.holdout().images[:64]
    whole, alone = scorer.score(images), scorer.score(images[5:6])
    np.testing.assert_allclose(whole.score[5], alone.score[0], atol=1e-5)
    np.testing.assert_allclose(whole.near_copy[5], alone.near_copy[0], atol=1e-5)


def test_nothing_to_score(faces, folder):
    scores = Scorer(folder, folder).score(faces.images[:0])
    assert len(scores.score) == len(scores.nearest) == 0


def test_digest_looks_at_weights_and_gallery_only(folder, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "thresholds.json").write_text("{}")
    assert scorer_digest(copy, copy) == scorer_digest(folder, folder)
    (copy / "gallery_ids.json").write_text("[]")
    assert scorer_digest(copy, copy) != scorer_digest(folder, folder)


def test_a_broken_gallery_is_named(folder, tmp_path):
    with refused_as("unreadable-file"):
        Scorer(folder, tmp_path)
    (tmp_path / "gallery.safetensors").write_bytes((folder / "gallery.safetensors").read_bytes())
    (tmp_path / "gallery_ids.json").write_text('["one"]')
    with refused_as("unreadable-file"):
        Scorer(folder, tmp_path)


def test_parts_hold_everybody_once(faces, folder):
    whole = load_gallery(folder)
    parts = [load_gallery(folder, part=(k, 3)) for k in range(3)]
    assert [name for part in parts for name in part.ids] == whole.ids
    assert [len(part.near_copy) for part in parts] == [len(POSES) * len(part.ids) for part in parts]
    query = faces.members().images[150:151]
    found = [part.near_copy.nearest(part.detector.compare(describe(query))) for part in parts]
    best = int(np.argmax([scores[0] for scores, _ in found]))
    assert parts[best].ids[found[best][1][0] // len(POSES)] == faces.members().ids[150]


def test_no_members(faces, folder, tmp_path):
    nobody = faces.where([False] * len(faces))
    with refused_as("no-images", "data"):
        build_gallery([build(ReidSettings(dim=32))], nobody, tmp_path)


def test_further_networks_score_on_their_own(faces, tmp_path):
    networks = [build(ReidSettings(dim=32), seed=seed).eval() for seed in (3, 4, 5)]
    save_all(networks, tmp_path)
    build_gallery(networks, faces.members(), tmp_path)
    images = faces.holdout().images[:8]
    scores = Scorer(tmp_path, tmp_path).score(images)
    assert scores.further.shape == (8, 2)
    for k, network in enumerate(networks[1:]):
        alone = tmp_path / f"alone{k}"
        save(network, alone)
        build_gallery([network], faces.members(), alone)
        np.testing.assert_array_equal(Scorer(alone, alone).score(images).score, scores.further[:, k])
    before = scorer_digest(tmp_path, tmp_path)
    (tmp_path / "voter-003" / "model.safetensors").write_bytes(b"another")
    assert scorer_digest(tmp_path, tmp_path) != before


def test_a_gallery_for_other_networks_is_refused(faces, folder, tmp_path):
    networks = [build(ReidSettings(dim=32), seed=seed).eval() for seed in (3, 4)]
    save_all(networks, tmp_path)
    with refused_as("other-inputs", "2", "1"):
        Scorer(tmp_path, folder)


def test_a_member_image_is_compared_with_all_but_itself(faces, folder):
    """The same as with a gallery that never held it."""
    members, rows = faces.members(), np.array([0, 57, 199])
    scores = Scorer(folder, folder).score(members.images[rows], rows)
    whole = load_gallery(folder)
    for place, row in enumerate(rows):
        image, others = members.images[row : row + 1], np.arange(len(members)) != row
        plain, turned = (embed(load(folder), image, mirror=mirror) for mirror in (False, True))
        score, at = most_similar(whole.reid[0].where(others), plain, turned)
        assert scores.score[place] == pytest.approx(score[0], abs=1e-6)
        assert scores.nearest[place] == np.array(members.ids)[others][at[0]]
        plain, turned = (whole.detector.compare(describe(one)) for one in (image, mirrored(image)))
        near_copy, _ = most_similar(whole.near_copy.where(np.repeat(others, len(POSES))), plain, turned)
        assert scores.near_copy[place] == pytest.approx(near_copy[0], abs=1e-6)
        assert scores.score[place] < 0.9999
