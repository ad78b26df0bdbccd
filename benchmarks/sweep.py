"""Two hundred cheap trials of a sweep over a million cached candidates, whole; then killed half-way and restored.

    python benchmarks/sweep.py                # two minutes on two cores
    python benchmarks/sweep.py --rows 100000 --trials 50
    python benchmarks/sweep.py --last         # print the stored figures without running

Scores are drawn by chance, in shards with the columns that `pd generate` writes, so that members' copies, their likenesses and
strangers mix; three attackers in two folds have looked at every row, where a sweep asks for 4,096. The time is that of a new
process, from reading the shards and starting Ray to the last trial's figures.
"""

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from harness import print_last, store
from rich.console import Console
from rich.table import Table

from pd.audit.estimate import multiplicities
from pd.audit.impostor_sets import CIRCLES, Met
from pd.config import Settings, parse_settings
from pd.dataset.schema import IMAGE, image_schema
from pd.engine.sweep import RECORDS, run_grid
from pd.filters.calibration import Measurements
from pd.filters.duplicate import SKETCH
from pd.filters.table import LABEL, SCORED, write_table
from pd.progress import silent
from pd.reid.calibrate import Verification
from pd.stages.sweep import cheap_trial
from pd.sweep.cached import Cached
from pd.sweep.judge import Judge
from pd.sweep.leak import Bars, View
from pd.sweep.trial import draw_trials
from pd.sweep.usefulness import Usefulness
from pd.sweep.views import read_views, write_views

SEED = 7
SHARD = 65_536
MEMBERS, STRANGERS, EACH = 100, 50, 10  # people, and pictures of each
ATTACKERS = ("imagenet", "thumbnails", "whitened")
PROMPTS = [f"a photo of a face, {words}" for words in ("plain", "glasses", "beard", "smiling")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--part", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--made", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.last:
        print_last("sweep")
    elif arguments.part:
        _sweep(arguments.made, arguments.part, arguments.trials)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            _whole(Path(scratch), arguments.rows, arguments.trials)


def _whole(folder: Path, rows: int, trials: int) -> None:
    made = folder / "made"
    _make(made, rows)
    judge = _judge(made, trials)
    alone = _seconds_each(judge, trials)
    seconds = _child(made, folder / "whole", trials)
    half = _child(made, folder / "killed", trials, kill_at=trials // 2)
    finished = {path: path.stat().st_mtime_ns for path in (folder / "killed" / RECORDS).glob("*.json")}
    restored = _child(made, folder / "killed", trials)
    same = _figures(folder / "whole") == _figures(folder / "killed")
    figures = {
        "rows": rows,
        "trials": trials,
        "seconds": round(seconds, 1),
        "per_trial_s": round(float(np.median(alone)), 3),
        "per_trial_s_at_most": round(max(alone), 3),
        "until_killed_s": round(half, 1),
        "finished_when_killed": len(finished),
        "restored_s": round(restored, 1),
        "redone": sum(path.stat().st_mtime_ns != before for path, before in finished.items()),
        "same_figures": same,
    }
    table = Table("", "", title=f"{trials} trials over {rows:,} candidates")
    for name, value in figures.items():
        table.add_row(name, str(value))
    Console(width=100).print(table)
    store("sweep", figures)


def _settings(trials: int) -> Settings:
    return parse_settings({}, [f"sweep.trials={trials}", f"seed={SEED}"])


def _make(folder: Path, rows: int) -> None:
    """Shards of scored candidates, and what attackers say of them."""
    chance = np.random.default_rng(SEED)
    folder.mkdir(parents=True)
    person = chance.integers(MEMBERS, size=rows)
    copied = chance.beta(0.7, 1.5, rows)  # how much of a member is in each
    score = (0.55 + 0.45 * copied + chance.normal(0, 0.06, rows)).clip(-1, 1).astype(np.float32)
    near = (0.4 + 0.6 * copied**2 + chance.normal(0, 0.08, rows)).clip(-1, 1).astype(np.float32)
    for shard, start in enumerate(range(0, rows, SHARD)):
        some = slice(start, min(start + SHARD, rows))
        _write_shard(folder / f"part-{shard:05d}.parquet", range(some.start, some.stop), person[some], score[some], near[some])
    write_views({name: [_view(chance, person, copied) for _ in range(2)] for name in ATTACKERS}, folder)


def _write_shard(file: Path, ids: range, person: Any, score: Any, near: Any) -> None:
    names = [f"m{k}-0" for k in person]
    columns: dict[str, Any] = {
        "id": [f"{k:09d}" for k in ids],
        "seed": [SEED] * len(ids),
        "prompt": [PROMPTS[k * 7 % len(PROMPTS)] for k in ids],
        "image": [{"bytes": b"", "path": ""}] * len(ids),  # a trial reads none
        "score": score,
        "nearest": names,
        "near_copy": near,
        "near_copy_nearest": names,
        "pixels_sha": [f"{k:032x}" for k in ids],
        "sketch": [bytes(SKETCH)] * len(ids),
    }
    fields = [*SCORED.items(), (f"{LABEL}glasses", pa.float64())]
    arrays = [pa.array(columns[name], IMAGE if name == "image" else kind) for name, kind in SCORED.items()]
    arrays.append(pa.array([float(k * 7 % len(PROMPTS) == 1) for k in ids], pa.float64()))
    write_table(pa.table(arrays, schema=image_schema(fields)), file)


def _view(chance: np.random.Generator, person: Any, copied: Any, resamples: int = 200) -> View:
    """An attacker that sees what is copied, through noise of its own."""
    rows = len(person)
    who = np.repeat(np.arange(STRANGERS), EACH)
    drawn = [
        np.concatenate([np.ones((1, count)), multiplicities(count, resamples, chance)]).astype(np.float32)
        for count in (MEMBERS, STRANGERS)
    ]
    weight = drawn[1][:, who].astype(np.float64)
    main, *control = (Bars.of(chance.normal(0.5, 0.1, len(who)).astype(np.float32), weight, 0.05) for _ in range(1 + CIRCLES))
    likeness = (0.45 + 0.45 * copied + chance.normal(0, 0.1, rows)).astype(np.float32)
    met = Met(chance.normal(0.5, 0.1, rows).astype(np.float32), np.arange(rows) % CIRCLES)
    group = person * STRANGERS + chance.integers(STRANGERS, size=rows)
    return View.of(group, likeness, met, main, control, (drawn[0], drawn[1]))


def _judge(made: Path, trials: int) -> Judge:
    files = sorted(made.glob("*.parquet"))
    cached = Cached.read(files, {f"m{k}-0": f"member {k}" for k in range(MEMBERS)})
    views = read_views(made)
    assert views is not None
    return Judge(
        settings=_settings(trials),
        measured=_measured(),
        prompts={3: frozenset(PROMPTS)},
        cached=cached,
        seen=np.arange(len(cached)),
        views=views,
        usefulness=_usefulness(),
        seed=SEED,
    )


def _measured() -> Measurements:
    """Strangers: a hundred people of ten pictures."""
    chance = np.random.default_rng(SEED + 1)
    n, pairs = 1000, 2000
    nothing = np.zeros((0, n), np.float32)
    return Measurements(
        verification=Verification(0.99, 0.95, n, 100, pairs // 2, pairs // 2),
        score=chance.normal(0.72, 0.08, n).astype(np.float32),
        people=np.repeat(np.arange(100), 10),
        near_copy=chance.normal(0.5, 0.1, n).astype(np.float32),
        member_score=chance.normal(0.9, 0.05, n).astype(np.float32),
        pair_cosines=chance.normal(0, 0.2, pairs).astype(np.float32),
        pair_same=np.arange(pairs) % 2 == 0,
        further_score=nothing,
        further_cosines=np.zeros((0, pairs), np.float32),
    )


def _usefulness() -> Usefulness:
    chance = np.random.default_rng(SEED + 2)
    rows, test = (chance.normal(size=(n, 64)).astype(np.float32) for n in (2048, 200))
    labels = [{"glasses": (some[:, 0] > 0).astype(np.float64)} for some in (rows, test)]
    people = [str(k // 10) for k in range(200)]
    unused = np.zeros((0, 0), np.float32)  # axes are for new images
    return Usefulness(unused, unused, rows, labels[0], test, labels[1], people, 200, SEED)


def _seconds_each(judge: Judge, trials: int) -> list[float]:
    """Of trials in this process, one after the other."""
    seconds = []
    for trial in draw_trials(judge.settings)[: min(trials, 20)]:
        begin = time.perf_counter()
        judge(trial)
        seconds.append(time.perf_counter() - begin)
    return seconds


def _sweep(made: Path, folder: Path, trials: int) -> None:
    """What the child process does."""
    judge = _judge(made, trials)
    configs = [asdict(trial) for trial in draw_trials(judge.settings)]
    run_grid(cheap_trial, judge, configs, folder, cpus=1, address=None, progress=silent)


def _child(made: Path, folder: Path, trials: int, kill_at: int | None = None) -> float:
    """Seconds of a sweep in a process of its own, killed with SIGKILL when so many trials are finished."""
    begin = time.perf_counter()
    command = [sys.executable, __file__, "--part", str(folder), "--made", str(made), "--trials", str(trials)]
    with subprocess.Popen(command) as child:
        while kill_at and child.poll() is None:
            time.sleep(0.1)
            if len(list((folder / RECORDS).glob("*.json"))) >= kill_at:
                family = psutil.Process(child.pid).children(recursive=True)
                child.send_signal(signal.SIGKILL)
                seconds = time.perf_counter() - begin
                psutil.wait_procs(family, timeout=120)  # Ray's processes die with their driver
                return seconds
        if child.wait():
            sys.exit(f"the sweep ended with {child.returncode}")
    return time.perf_counter() - begin


def _figures(folder: Path) -> list[Any]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((folder / RECORDS).glob("*.json"))]


if __name__ == "__main__":
    main()
