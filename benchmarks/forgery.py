"""Does natural consistency tell forgeries of a kind that nobody has seen: frame-wise CNN < from scratch < NACO?

    python benchmarks/forgery.py           # the short form: one division of people a seed, few steps of small networks
    python benchmarks/forgery.py --long    # three divisions a seed, long trainings; a day
    python benchmarks/forgery.py --last    # print the stored figures without running
    python benchmarks/forgery.py --only-throughput

`--data` names a folder of clips with `manifest.csv` (path, label, method, made_from, person). Real clips are divided by
person, two thirds to learn from. Four kinds of forgeries are made of them (`pd.forgery.forgeries`); each is kept out of
training in turn, and tested with real clips of the other third. Arms: `frames` (the CNN judges each frame, trained on labels),
`scratch` (CNN and Transformer, trained on labels), `no_spm`, `no_tcm`, `naco` (pre-trained on real clips, frozen, and an
MLP). All have the same networks, windows and steps. `published` are the forged clips of the folder against kept-out real
ones, by heads that know all four kinds. Intervals are over clips, resampled within each seed's test. `robust` is the mean
AUC over kinds when test clips are blurred, compressed or noisy. What is finished is not done again after a kill.
"""

import argparse
import csv
import gc
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from harness import print_last, store
from PIL import Image, ImageFilter

from pd.classify.inputs import Held
from pd.config import DataSettings, VideoSettings
from pd.config.training import TrainingSettings
from pd.dataset.clips import Clip, ClipFrames, read_clip
from pd.dataset.face_crop import find_face
from pd.dataset.images import Pixels, to_arrays
from pd.dataset.splits import hash_order
from pd.forgery.forgeries import KINDS, forge
from pd.forgery.head import Features, auc, features_of, head_task, scores_of
from pd.forgery.naco import NacoTask, load_naco
from pd.forgery.network import build_clip_net
from pd.forgery.supervised import JudgeTask
from pd.forgery.windows import Footage, batch_of, firsts, in_units
from pd.seeds import derive
from pd.training.loop import fit_here

ARMS = ("frames", "scratch", "no_spm", "no_tcm", "naco")
ROBUST = ("frames", "naco")
WEIGHTS = {"no_spm": (0.0, 1.0), "no_tcm": (1.0, 0.0), "naco": (1.0, 1.0)}
RATE = 12.5


@dataclass(frozen=True)
class Size:
    """How much work a form of the benchmark is."""

    steps: int
    head_steps: int
    side: int
    window: int
    batch: int
    width: int
    dim: int
    seconds: float
    windows: int
    seeds: int
    divisions: int


SHORT = Size(60, 100, 48, 8, 8, 8, 48, 4.0, 3, 3, 1)
LONG = Size(3000, 500, 64, 12, 16, 16, 96, 30.0, 8, 3, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--last", action="store_true", help="print the stored line without running")
    parser.add_argument("--long", action="store_true", help="three divisions a seed, long trainings")
    parser.add_argument("--only-throughput", action="store_true", help="print the throughput alone, and store nothing")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/video"), help="clips and manifest.csv")
    parser.add_argument("--seeds", type=int, help="instead of the form's three")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "pd-forgery", help="for going on")
    given = parser.parse_args()
    if given.last:
        print_last("forgery")
        return
    torch.set_num_threads(1)
    if given.only_throughput:
        print(json.dumps(throughput(given.data, 3)))
        return
    size = LONG if given.long else SHORT
    real, people, forged, methods = clips_in(given.data, size, given.work)
    size = replace(size, seeds=given.seeds) if given.seeds else size
    seeds = [one_seed(real, people, forged, seed, size, given.work) for seed in range(size.seeds)]
    figures: dict[str, Any] = {
        "auc": {kind: {arm: interval([one["scores"][arm][kind] for one in seeds]) for arm in ARMS} for kind in KINDS},
        "published": {arm: interval([one["published"][arm] for one in seeds]) for arm in ARMS},
        "robust": {arm: averaged([one["robust"][arm] for one in seeds]) for arm in ROBUST},
        "clips": {"real": len(real), "people": len(set(people))},
    }
    figures["clips"]["published"] = {method: methods.count(method) for method in sorted(set(methods))}
    mean = {arm: float(np.mean([figures["auc"][kind][arm]["value"] for kind in KINDS])) for arm in ARMS}
    figures["mean_auc"] = mean
    figures["order_holds"] = mean["frames"] < mean["scratch"] < mean["naco"]
    figures["form"] = {"long": given.long, **{name: getattr(size, name) for name in size.__dataclass_fields__}}
    store("forgery", figures)
    figures["throughput"] = throughput(given.data, 3 if given.long else 1)
    store("forgery", figures)


def clips_in(folder: Path, size: Size, work: Path) -> tuple[list[Pixels], list[str], list[Pixels], list[str]]:
    """Frames of the real clips, their people, frames of the published forged ones, their methods."""
    how = DataSettings(size=size.side, mode="rgb", video=VideoSettings(rate=RATE, seconds=size.seconds))
    kept = work / f"frames-{size.side}-{size.seconds}.npz"
    if kept.exists():
        with np.load(kept) as found:
            clips = [found[f"clip{n}"] for n in range(len(found["names"]))]
            count = int(found["real"])
            names = found["names"].tolist()
        return clips[:count], names[:count], clips[count:], names[count:]
    real, people, forged, methods = [], [], [], []
    with (folder / "manifest.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found = read_clip(Clip(row["path"], folder / row["path"]), how)
            if found["reason"] is not None or len(found["frames"]) < size.window:
                print(f"left out: {row['path']} ({found['reason'] or 'short'})", flush=True)
                continue
            frames = to_arrays(found["frames"])
            if row["label"].startswith("real"):
                real.append(frames)
                people.append(row["person"])
            else:
                forged.append(frames)
                methods.append(row["method"])
    work.mkdir(parents=True, exist_ok=True)
    held = {f"clip{n}": clip for n, clip in enumerate([*real, *forged])}
    np.savez(kept, names=np.array([*people, *methods]), real=len(real), **held)
    return real, people, forged, methods


def footage(clips: list[Pixels], people: list[str], name: str) -> Footage:
    lengths = np.array([len(clip) for clip in clips], np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    return Footage(Held(np.concatenate(clips)), starts, lengths, tuple(people), name)


def forgeries(clips: list[Pixels], people: list[str], kind: str, seed: int) -> list[Pixels]:
    """One of each clip; patches come from another person among the same clips."""
    made = []
    for row, clip in enumerate(clips):
        others = [n for n, who in enumerate(people) if who != people[row]]
        other = clips[others[derive(seed, "donor", kind, row) % len(others)]]
        made.append(forge(kind, clip, other, seed, row))
    return made


Judge = Callable[[list[Pixels]], np.ndarray]


def one_seed(real: list[Pixels], people: list[str], forged: list[Pixels], seed: int, size: Size, work: Path) -> dict[str, Any]:
    """Scores of one seed: of kept-out kinds, of published forgeries, and of corrupted test clips."""
    kept = work / f"seed-{seed}-{size.steps}-{size.side}-{size.divisions}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    found = {
        "scores": {arm: {kind: {"real": [], "forged": []} for kind in KINDS} for arm in ARMS},
        "published": {arm: {"real": [], "forged": []} for arm in ARMS},
        "robust": {arm: {} for arm in ROBUST},
    }
    order = hash_order(people, seed, "benchmark")
    for division in range(size.divisions):
        tested = set(order[division::3])
        learn = [n for n, who in enumerate(people) if who not in tested]
        test = [n for n, who in enumerate(people) if who in tested]
        parts = [[real[n] for n in rows] for rows in (learn, test)]
        names = [[people[n] for n in rows] for rows in (learn, test)]
        made = {kind: forgeries(parts[0], names[0], kind, seed) for kind in KINDS}
        asked = {kind: forgeries(parts[1], names[1], kind, derive(seed, "test")) for kind in KINDS}
        name = f"{seed}-{division}-{size.side}"
        for arm in ARMS:
            begin = time.process_time()
            judge_of = trainer(arm, parts[0], names[0], made, name, seed, size, work)
            for kind in KINDS:
                judge = judge_of([other for other in KINDS if other != kind])
                natural = judge(parts[1])
                found["scores"][arm][kind]["real"] += natural.tolist()
                found["scores"][arm][kind]["forged"] += judge(asked[kind]).tolist()
                if division == 0 and arm in ROBUST:
                    for change, alter in CHANGES.items():
                        figures = auc(judge(altered(parts[1], alter)), judge(altered(asked[kind], alter)))
                        found["robust"][arm].setdefault(change, []).append(figures)
            judge = judge_of(list(KINDS))
            found["published"][arm]["real"] += judge(parts[1]).tolist()
            found["published"][arm]["forged"] += judge(forged).tolist()
            print(f"seed {seed}, division {division}, {arm}: {time.process_time() - begin:.0f} s", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found), encoding="utf-8")
    return found


def trainer(
    arm: str, real: list[Pixels], people: list[str], made: dict[str, list[Pixels]], name: str, seed: int, size: Size, work: Path
) -> Callable[[list[str]], Judge]:
    """From the kinds that may be seen to what judges clips."""
    how = TrainingSettings(steps=size.steps, learning_rate=2e-3, checkpoint_every=50)
    network = {"window": size.window, "batch": size.batch, "seed": seed, "width": size.width, "dim": size.dim}
    if arm in WEIGHTS:
        spm, tcm = WEIGHTS[arm]
        task = NacoTask(footage(real, people, f"{name}-real"), **network, spm=spm, tcm=tcm)
        net, window = load_naco(fit_here(task, how, work))

        def seen(clips: Iterable[Pixels]) -> Features:
            return features_of(net, window, clips, size.windows)

        natural, known = seen(real), {kind: seen(clips) for kind, clips in made.items()}

        def with_head(kinds: list[str]) -> Judge:
            task = head_task([natural], [known[kind] for kind in kinds], seed)
            head = fit_here(task, how.model_copy(update={"steps": size.head_steps}), work)
            return lambda clips: scores_of(head, seen(clips))[0]

        return with_head

    def trained(kinds: list[str]) -> Judge:
        clips = [*real, *(clip for kind in kinds for clip in made[kind])]
        labels = np.arange(len(clips)) >= len(real)
        label = f"{name}-{'-'.join(kinds)}"
        task = JudgeTask(footage(clips, [""] * len(clips), label), labels, by_frame=arm == "frames", **network)
        module = task.read(fit_here(task, how, work))

        @torch.no_grad()
        def judge(asked: list[Pixels]) -> np.ndarray:
            scores = []
            for clip in asked:
                places = [(0, first) for first in firsts(len(clip), size.window, size.windows)]
                batch = in_units(batch_of(footage([clip], [""], ""), places, size.window))
                scores.append(float(module(batch).sigmoid().mean()))
            return np.array(scores)

        return judge

    return trained


def blurred(radius: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    return lambda picture, _: picture.filter(ImageFilter.GaussianBlur(radius))


def compressed(quality: int) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def change(picture: Image.Image, _: np.random.Generator) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=quality)
        return Image.open(file, formats=["JPEG"]).convert("RGB")

    return change


def noisy(levels: float) -> Callable[[Image.Image, np.random.Generator], Image.Image]:
    def change(picture: Image.Image, chance: np.random.Generator) -> Image.Image:
        pixels = np.asarray(picture, np.float32)
        return Image.fromarray((pixels + chance.normal(0, levels, pixels.shape)).clip(0, 255).astype(np.uint8))

    return change


CHANGES = {
    **{f"blur {radius}": blurred(radius) for radius in (0.5, 1.0)},
    **{f"jpeg {quality}": compressed(quality) for quality in (75, 40)},
    **{f"noise {levels}": noisy(levels) for levels in (4, 12)},
}


def altered(clips: list[Pixels], change: Callable[[Image.Image, np.random.Generator], Image.Image]) -> list[Pixels]:
    chance = np.random.default_rng(0)
    return [np.stack([np.asarray(change(Image.fromarray(frame), chance)) for frame in clip]) for clip in clips]


def interval(seeds: list[dict[str, list[float]]], draws: int = 2000) -> dict[str, float]:
    """Mean AUC over seeds, with the 95 % interval of resampled clips."""
    chance = np.random.default_rng(0)
    sides = [(np.array(one["real"]), np.array(one["forged"])) for one in seeds]
    value = float(np.mean([auc(*pair) for pair in sides]))
    drawn = [np.mean([auc(chance.choice(a, len(a)), chance.choice(b, len(b))) for a, b in sides]) for _ in range(draws)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high), "real": len(sides[0][0]), "forged": len(sides[0][1])}


def averaged(seeds: list[dict[str, list[float]]]) -> dict[str, float]:
    return {change: float(np.mean([one[change] for one in seeds])) for change in CHANGES}


def throughput(folder: Path, rounds: int) -> dict[str, Any]:
    """Frames a second of processor time, decoded, cropped and scored: what a worker does against a plain loop over PyAV.

    Both read the same ten seconds at the same rate and size, look for a face as often, and score windows with the same network.
    Memory is that of the process after one clip, and after sixteen.
    """
    how = DataSettings(size=64, mode="rgb", video=VideoSettings(rate=RATE, seconds=10))
    net, window = build_clip_net(16, 96, 2, 0).eval(), 12
    files = [folder / name for name in ("519.mp4", "634.mp4", "abqwwspghj.mp4")]
    seconds: dict[str, list[float]] = {"mapper": [], "plain": []}
    frames = {"mapper": 0, "plain": 0}
    for _ in range(rounds):
        for file in files:
            for name, run in (("plain", plain_loop), ("mapper", mapper_loop)):
                begin = time.process_time()
                count = run(file, how, net, window)
                seconds[name].append(time.process_time() - begin)
                frames[name] += count
    ratios = np.array(seconds["plain"]) / np.array(seconds["mapper"])
    process = psutil.Process()
    memory = []
    function = ClipFrames(tuple(Clip(str(n), files[0]) for n in range(16)), how)
    make = function.open("cpu")
    for row in range(16):
        table = make(range(row, row + 1))
        features_of(net, window, [to_arrays(table["frames"][0].as_py())], 8)
        del table
        gc.collect()
        memory.append(process.memory_info().rss / 2**20)
    return {
        "mapper_frames_a_second": frames["mapper"] / sum(seconds["mapper"]),
        "plain_frames_a_second": frames["plain"] / sum(seconds["plain"]),
        "ratio": float(np.median(ratios)),
        "ratio_low": float(ratios.min()),
        "ratio_high": float(ratios.max()),
        "mib_after_2_clips": memory[1],
        "mib_after_16_clips": memory[-1],
    }


def mapper_loop(file: Path, how: DataSettings, net: Any, window: int) -> int:
    table = ClipFrames((Clip(file.name, file),), how).open("cpu")(range(1))
    frames = to_arrays(table["frames"][0].as_py())
    features_of(net, window, [frames], 8)
    return len(frames)


def plain_loop(file: Path, how: DataSettings, net: Any, window: int) -> int:
    """What somebody would write: decode, every so many frames to an array, a face a second, cut, resize, score."""
    import av

    made, box = [], None
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        every = float(stream.average_rate) / how.video.rate
        for index, frame in enumerate(container.decode(stream)):
            if len(made) >= how.video.rate * how.video.seconds:
                break
            if index < len(made) * every:
                continue
            pixels = frame.to_ndarray(format="rgb24")
            if box is None or len(made) % round(how.video.rate) == 0:
                box = find_face(pixels) or box
            left, top, right, bottom = box or (0, 0, min(pixels.shape[:2]), min(pixels.shape[:2]))
            picture = Image.fromarray(pixels[top:bottom, left:right])
            made.append(np.asarray(picture.resize((how.size, how.size), Image.Resampling.LANCZOS)))
    features_of(net, window, [np.stack(made)], 8)
    return len(made)


if __name__ == "__main__":
    main()
