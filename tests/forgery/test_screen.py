"""Screening: a table of all clips whatever is the matter with them, expected errors, a page, going on, a run's stage."""

import csv
import json
import pickle
import shutil

import numpy as np
import pytest
import typer
import yaml
from small_clips import encode, moving, world

from pd.cli import app
from pd.config import load_settings
from pd.config.training import TrainingSettings
from pd.dataset.clips import list_clips
from pd.dataset.parquet_images import ParquetImages
from pd.dataset.private import CLIP, PrivateDataset
from pd.errors import UserError
from pd.forgery.forgeries import forge
from pd.forgery.head import Features, auc, head_task, scores_of, threshold_at
from pd.pipeline import run_pipeline
from pd.progress import Reporter
from pd.stages import footage
from pd.stages.screen import _known
from pd.stages.screen_clips import screen_clips
from pd.training.loop import fit_here

TINY = {
    "window": 6,
    "windows": 3,
    "size": 32,
    "width": 8,
    "dim": 16,
    "layers": 1,
    "batch": 8,
    "training": {"steps": 12, "checkpoint_every": 5},
    "head": {"steps": 20},
}
SETS = [f"screen.{key}={json.dumps(value)}" for key, value in TINY.items()]
SETS += ["data.video.face=centre"]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    return world(tmp_path_factory.mktemp("real"), people=5, clips=2, seconds=1.5)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Good clips, a forged one, and all that can be the matter with one."""
    folder = tmp_path_factory.mktemp("asked")
    encode(folder / "good.mp4", moving(10, 1.5))
    encode(folder / "forged.mp4", forge("reencode", moving(11, 1.5), moving(12, 1.5), 1))
    encode(folder / "short.mp4", moving(13, 0.2))
    encode(folder / "sound.mp4", None, sound=True)
    encode(folder / "variable.mkv", moving(14, 1.5)[:20], times=[0.03 * n + 0.4 * (n > 10) for n in range(20)])
    encode(folder / "hours.mkv", moving(15, 1.0), times=[1200.0 * n for n in range(25)])
    data = (folder / "good.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(data[: len(data) // 2])
    (folder / "=1+1.mp4").write_bytes(b"nothing" * 99)
    return folder


@pytest.fixture(scope="module")
def out(real, asked, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "screened"
    screen_clips(real, None, asked, folder, SETS, Reporter())
    return folder


def table(folder):
    with (folder / "clips.csv").open(encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


def test_every_clip_is_in_the_table_with_a_score_and_errors_or_a_reason(out):
    rows = table(out)
    assert len(rows) == 8
    scored = {name for name, row in rows.items() if row["score"]}
    assert scored == {"good.mp4", "forged.mp4", "variable.mkv", "hours.mkv"}
    for name in scored:
        assert all(0 <= float(rows[name][column]) <= 1 for column in ("score", "false_alarms", "missed"))
    assert rows["short.mp4"]["notes"] == "shorter than a window of 6 frames"
    assert rows["sound.mp4"]["notes"].startswith("no picture")
    assert rows["hours.mkv"]["notes"].startswith("cut after 30 s of 28800 s")
    assert rows["cut.mp4"]["notes"].startswith(("corrupt", "truncated"))
    assert rows["'=1+1.mp4"]["notes"] == "not a video"  # quoted: no spreadsheet takes it for a formula
    order = [float(row["score"]) for row in rows.values() if row["score"]]
    assert order == sorted(order, reverse=True)


def test_the_page_shows_pictures_and_says_what_it_is_worth(out):
    page = (out / "screen.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    for words in ("none were given", "nothing is dropped", "missed of a kind that the head had not seen", "too few"):
        assert words in page
    assert "<script" not in page
    figures = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    assert {one["kind"] for one in figures["expected"]} == {"blend", "swap", "reencode", "warp"}
    assert figures["real_clips_held_out"] == 4  # two of five people


def test_the_same_command_goes_on_and_decodes_nothing_again(real, asked, out, monkeypatch):
    before = (out / "clips.csv").read_bytes()

    def never(*_):
        raise AssertionError("decoded again")

    monkeypatch.setattr("pd.dataset.clips.read_clip", never)
    screen_clips(real, None, asked, out, SETS, Reporter())
    assert (out / "clips.csv").read_bytes() == before


def test_another_number_of_steps_trains_again(real, asked, out, tmp_path):
    work = shutil.copytree(out.parent / ".screened.work", tmp_path / ".again.work") / "trainings"

    def trained(*more):
        screen_clips(real, None, asked, tmp_path / "again", [*SETS, *more], Reporter())
        return len(list(work.iterdir()))

    heads = 5  # one for all kinds, and one without each
    assert len(list(work.iterdir())) == 1 + heads
    assert trained("screen.head.steps=21") == 1 + 2 * heads
    assert trained("screen.training.steps=13") == 2 + 3 * heads
    assert trained("screen.training.checkpoint_every=6", "screen.training.steps=13") == 2 + 3 * heads


def test_given_forgeries_are_kinds_of_their_own(real, asked, tmp_path):
    for number in range(2):
        made = forge("warp", moving(20 + number, 1.0), moving(30, 1.0), number)
        encode(tmp_path / "forged" / "somegan" / f"{number}.mp4", made)
    found = screen_clips(real, tmp_path / "forged", asked / "good.mp4", tmp_path / "out", SETS, Reporter())
    assert "somegan" in next(line for line in found.lines if line.startswith("missed"))
    assert len(found.rows) == 1


def test_what_makes_its_figures_flatter_is_said(real, asked, tmp_path):
    (tmp_path / "flat").mkdir()
    for number in range(5):
        shutil.copy(real / f"p{number:02}" / "clip0.mp4", tmp_path / "flat" / f"{number}.mp4")
    (tmp_path / "asked").mkdir()
    shutil.copy(real / "p01" / "clip0.mp4", tmp_path / "asked" / "another_name.mp4")
    shutil.copy(asked / "good.mp4", tmp_path / "asked")
    (tmp_path / "forged").mkdir()
    shutil.copy(asked / "short.mp4", tmp_path / "forged")
    lines = screen_clips(tmp_path / "flat", tmp_path / "forged", tmp_path / "asked", tmp_path / "out", SETS, Reporter()).lines
    assert "1 of the screened clips are among the real ones given: their scores say nothing" in lines
    assert any(line.startswith("nobody names the people of the real clips") for line in lines)
    assert any("none of those given can be used" in line for line in lines)
    assert "forged clips not used: 1 shorter than a window of 6 frames" in lines


def test_a_part_of_a_file_is_known_by_its_seconds(asked, tmp_path):
    def listed(*seconds):
        rows = "".join(f"good.mp4,p,{start},{end}\n" for start, end in seconds)
        (asked / "parts.csv").write_text(f"path,identity,start,end\n{rows}")
        return list_clips(asked / "parts.csv")

    assert _known(listed((0, 0.5), (0.5, 1), (1, "")), listed((0.6, 0.7), (1.2, ""))) == 2
    (asked / "parts.csv").unlink()


def test_bad_input_is_one_line_before_the_work(real, asked, tmp_path):
    def refused(*given, sets=()):
        with pytest.raises(UserError) as error:
            screen_clips(*given, tmp_path / "out", [*SETS, *sets], Reporter())
        assert "\n" not in str(error.value)
        return str(error.value)

    few = world(tmp_path / "few", people=3, clips=1, seconds=0.8)
    assert "at least 4 are needed" in refused(few, None, asked / "good.mp4")
    long = "(1 shorter than a window of 100 frames)"
    assert f"no clip can be used {long}" in refused(few, None, asked / "good.mp4", sets=["screen.window=100"])
    (tmp_path / "unfit" / "p").mkdir(parents=True)
    shutil.copy(asked / "short.mp4", tmp_path / "unfit" / "p")
    shutil.copy(asked / "sound.mp4", tmp_path / "unfit" / "p")
    why = "can be used (1 no picture, 1 shorter than a window of 6 frames)"
    assert f"no real clip {why}" in refused(tmp_path / "unfit", None, asked / "good.mp4")
    assert f"no clip {why}" in refused(real, None, tmp_path / "unfit")
    (tmp_path / "empty").mkdir()
    assert "no video in this folder" in refused(tmp_path / "empty", None, asked)
    assert "no such folder" in refused(real, tmp_path / "none", asked)
    other = tmp_path / "out"
    other.mkdir(exist_ok=True)
    (other / "thesis.txt").write_text("mine")
    assert "holds other things" in refused(real, None, asked)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["data.reader=folder", "data.path=x"], "data.reader: video"),
        (["data.drop_flagged=true", "screen=null"], "add the section"),
    ],
)
def test_settings_that_do_not_go_together(tmp_path, sets, words):
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({"data": {"reader": "video", "path": "x"}, "screen": {}}))
    with pytest.raises(UserError, match=words):
        load_settings(tmp_path / "a.yaml", sets)


def test_a_stage_after_ingest_lists_and_drops_only_where_that_is_asked_for(tmp_path):
    clips = world(tmp_path / "clips", people=7, clips=2, seconds=1.0)
    settings = {
        "name": "clips",
        "runs": str(tmp_path / "runs"),
        "data": {"reader": "video", "path": str(clips), "size": 32, "video": {"rate": 4.0, "face": "centre"}},
        "screen": {**TINY, "false_alarms": 0.4},
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(settings))

    def run(*sets):
        made = run_pipeline(load_settings(tmp_path / "a.yaml", sets), Reporter(), only=["ingest", "screen"])
        flagged = {row["id"] for row in table(made.screen).values() if row["flagged"] == "True"}
        return flagged, set(PrivateDataset.read_words(made.dataset).texts[CLIP])

    flagged, there = run()
    assert flagged
    assert len(there) == 14
    again, left = run("data.drop_flagged=true")
    assert again == flagged
    assert left == there - flagged


def features(rows, clips=None):
    rows = np.asarray(rows, np.float32)
    of = np.arange(len(rows)) if clips is None else np.asarray(clips)
    return Features(rows, of, np.zeros(len(rows), np.int64), int(of.max()) + 1)


def test_a_head_tells_what_can_be_told_and_averages_windows(tmp_path):
    chance = np.random.default_rng(0)
    trace = np.array([1, -1, 1, -1])
    natural, forged = chance.normal(0, 0.3, (60, 4)) - trace, chance.normal(0, 0.3, (40, 4)) + trace
    head = fit_here(head_task([features(natural)], [features(forged)], 1), TrainingSettings(steps=60), tmp_path)
    scores, each = scores_of(head, features([*natural[:2], *forged[:2]], [0, 0, 2, 2]))
    assert np.isnan(scores[1])
    assert scores[[0, 2]] == pytest.approx([each[:2].mean(), each[2:].mean()])
    assert scores[0] < 0.5 < scores[2]


def test_auc_and_threshold_by_hand():
    assert auc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 3.5 / 4
    real = np.arange(1, 40) / 100  # 39 of them: the 38th is the 95 % one
    assert threshold_at(real, 0.05) == 0.38
    assert threshold_at(np.array([0.1, 0.9, 0.2]), 0.05) == 0.9


def test_frames_of_the_screening_are_read_once(out):
    work = out.parent / ".screened.work"
    assert json.loads((work / "real" / footage.ENTRIES).read_text())["clips"][0]["frames"] == 19


def test_footage_travels_as_the_names_of_its_files(out):
    files = sorted((out.parent / ".screened.work" / "real").glob("*.parquet"))
    held = footage.HeldLater(ParquetImages.open(files))
    rows = np.arange(3)
    before = held.take(rows)
    data = pickle.dumps(held)
    assert len(data) < 20_000
    np.testing.assert_array_equal(pickle.loads(data).take(rows), before)


@pytest.mark.parametrize("words", [["screen"], ["screen", "--real", "a"], ["screen", "a.yaml", "--real", "a", "--clips", "b"]])
def test_the_command_says_what_is_missing(words):
    with pytest.raises(UserError, match="name"):
        typer.main.get_command(app)(words, standalone_mode=False)
