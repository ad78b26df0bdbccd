"""NACO: exact parts against arithmetic, and what it must show on clips that it has not seen."""

import numpy as np
import pytest
import torch
from small_clips import moving

from pd.classify.inputs import Held
from pd.config.training import TrainingSettings
from pd.forgery.explain import against_mean, errors, picture
from pd.forgery.forgeries import KINDS, forge
from pd.forgery.naco import TEMPERATURE, NacoTask, against, contrast, load_naco
from pd.forgery.network import GRID, build_clip_net
from pd.forgery.windows import Footage, firsts, in_units, shuffled
from pd.training.loop import fit_here
from pd.training.task import Alone

WINDOW = 8
SETTINGS = TrainingSettings(steps=150, learning_rate=2e-3, checkpoint_every=1000)


def footage(people, clips=2, seconds=2.0):
    """Faces that sway, 12.5 frames a second, 32 x 32."""
    made = [moving(who, seconds, 12.5, 64, 64, 40, seed=n)[:, ::2, ::2, :1] for who in people for n in range(clips)]
    lengths = np.array([len(clip) for clip in made], np.int64)
    names = tuple(f"p{who}" for who in people for _ in range(clips))
    return Footage(Held(np.concatenate(made)), np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths, names, str(people))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    task = NacoTask(footage(range(16)), window=WINDOW, batch=16, seed=1, width=8, dim=32, layers=2)
    return load_naco(fit_here(task, SETTINGS, tmp_path_factory.mktemp("naco")))[0]


def test_contrast_is_its_formula():
    chance = torch.Generator().manual_seed(0)
    a, b, far = (torch.nn.functional.normalize(torch.randn(*n, 4, generator=chance), dim=-1) for n in ((3,), (3,), (3, 5)))
    by_hand = []
    for one, other in ((a, b), (b, a)):
        for row in range(3):
            near = torch.exp(one[row] @ other[row] / TEMPERATURE)
            by_hand.append(-torch.log(near / (near + torch.exp(far[row] @ one[row] / TEMPERATURE).sum())))
    torch.testing.assert_close(contrast(a, b, far), torch.stack(by_hand).mean())


def test_against_is_its_formula():
    chance = torch.Generator().manual_seed(0)
    natural, views, far = (torch.randn(*n, generator=chance) for n in ((4,), (2, 3, 4), (3, 5, 4)))
    n = natural / natural.norm()
    by_hand = []
    for view in views:
        for row in range(3):
            near = torch.exp(view[row] @ n / TEMPERATURE)
            by_hand.append(-torch.log(near / (near + torch.exp(far[row] @ n / TEMPERATURE).sum())))
    torch.testing.assert_close(against(natural, views, far), torch.stack(by_hand).mean())


def test_a_prediction_starts_as_the_mean_of_what_is_shown_and_sees_nothing_hidden():
    net = build_clip_net(8, 16, 1, seed=0)
    clips = torch.rand(2, WINDOW, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    masked = torch.zeros(2, WINDOW, dtype=torch.bool)
    masked[:, 2:5] = True
    cells = net.cells(clips)
    torch.testing.assert_close(net.look(cells, masked).predicted[:, 3], cells[:, [0, 1, 5, 6, 7]].mean(1), atol=1e-5, rtol=1e-5)
    torch.nn.init.normal_(net.expect.weight)
    changed = cells.clone()
    changed[:, 2:5] = 7
    torch.testing.assert_close(net.look(changed, masked).predicted, net.look(cells, masked).predicted)
    assert not torch.equal(net.look(changed).predicted, net.look(cells).predicted)


def test_spm_is_the_mean_squared_error_of_masked_frames_alone():
    task = NacoTask(footage(range(4)), window=WINDOW, batch=4, seed=3, width=8, dim=16, layers=1, tcm=0.0)
    net, batch = task.build(), task.batch(0, 0, 1)
    assert batch["masked"].sum(1).tolist() == [WINDOW // 2] * 4
    figures = task.loss(net, batch, 0, Alone(torch.device("cpu")))
    assert set(figures) == {"loss", "spm"}
    light = batch["light"][:, 0]
    views = in_units(batch["first"])
    views = torch.where(light[:, 2].view(-1, 1, 1, 1, 1) > 0, views.flip(-1), views)
    cells = net.cells(views * light[:, 0].view(-1, 1, 1, 1, 1) + light[:, 1].view(-1, 1, 1, 1, 1))
    predicted = net.look(cells, batch["masked"]).predicted
    by_hand = [((predicted[n, t] - cells[n, t]) ** 2).mean() for n in range(4) for t in range(WINDOW) if batch["masked"][n, t]]
    torch.testing.assert_close(figures["loss"], torch.stack(by_hand).mean())


def test_natural_order_is_told_from_shuffled_on_clips_of_other_people(trained):
    other = footage(range(20, 36))
    windows = [in_units(torch.from_numpy(other.take(n, 5, WINDOW))) for n in range(len(other))]
    with torch.no_grad():
        natural = trained.naturalness(torch.stack(windows))
        mixed = trained.naturalness(torch.stack([w[torch.from_numpy(shuffled(WINDOW, 5, n))] for n, w in enumerate(windows)]))
    wins = (natural[:, None] > mixed[None]).float()
    auc = wins.mean()
    chance = np.random.default_rng(0)
    draws = [wins[chance.integers(0, 32, 32)][:, chance.integers(0, 32, 32)].mean() for _ in range(400)]
    assert auc > 0.8
    assert np.quantile(draws, 0.025) > 0.65


def test_masked_frames_are_predicted_better_than_by_the_mean_of_their_clip(trained):
    other = footage(range(20, 36))
    assert np.mean([against_mean(trained, other.take(n, 4, WINDOW)) for n in range(len(other))]) < 0.95


def test_a_strange_frame_stands_out_where_it_is_strange(trained):
    window = footage([20], clips=1).take(0, 4, WINDOW)
    strange = window.copy()
    strange[3, :16, :16] = 255 - strange[3, :16, :16]
    found = errors(trained, strange) - errors(trained, window)
    assert np.unravel_index(found.argmax(), found.shape)[0] == 3
    assert found[3, : GRID // 2, : GRID // 2].mean() > found[3, GRID // 2 :, GRID // 2 :].mean()
    made = picture(strange, errors(trained, strange), 1e-3)
    assert made.shape == (96, 48 * WINDOW, 3)


def test_a_window_is_its_own_whatever_is_beside_it(trained):
    clips = footage(range(20, 24))
    rows = torch.stack([in_units(torch.from_numpy(clips.take(n, 0, WINDOW))) for n in range(4)])
    with torch.no_grad():
        torch.testing.assert_close(trained.features(rows)[:1], trained.features(rows[:1]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("world", [2, 4])
def test_the_global_batch_is_the_same_for_any_number_of_ranks(world):
    task = NacoTask(footage(range(3)), window=WINDOW, batch=8, seed=3)
    whole = task.batch(5, 0, 1)
    parts = [task.batch(5, rank, world) for rank in range(world)]
    for name, value in whole.items():
        torch.testing.assert_close(torch.cat([part[name] for part in parts]), value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_forgeries_change_what_they_say_and_follow_from_the_seed(kind, channels):
    clip, other = (moving(who, 1.0, 12.5, 64, 64, 48)[..., :channels] for who in (0, 1))
    made = forge(kind, clip, other, 3, "a")
    np.testing.assert_array_equal(made, forge(kind, clip, other, 3, "a"))
    assert made.shape == clip.shape
    assert made.dtype == np.uint8
    changed = np.abs(made.astype(int) - clip)
    assert changed.mean() > 0.3
    if kind != "reencode":
        assert not np.array_equal(made, forge(kind, clip, other, 4, "a"))
    if kind == "blend":
        assert changed[:, :4, :4].max() == 0
    if kind == "warp":
        assert changed[:, :24].max() == 0
    if kind == "swap":
        assert sorted(frame.tobytes() for frame in made) == sorted(frame.tobytes() for frame in clip)


def test_windows_are_spread_over_a_clip():
    assert firsts(7, 8, 4) == []
    assert firsts(8, 8, 4) == [0]
    assert firsts(100, 8, 3) == [0, 46, 92]
    assert firsts(12, 8, 9) == [0, 4]


def test_a_shuffle_is_neither_the_order_nor_its_reverse():
    for seed in range(200):
        order = shuffled(3, seed).tolist()
        assert sorted(order) == [0, 1, 2]
        assert order not in ([0, 1, 2], [2, 1, 0])
