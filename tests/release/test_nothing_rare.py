"""Random tables with rare words in every place that a table has: nothing of them is in any byte of a release made of it."""

import csv
import json
import shutil
import tempfile
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audits import between
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from releases import edit_json, write_model
from safetensors.numpy import load_file, save_file

from pd.audit.results import AuditResult
from pd.audit.subgroup_drop_rates import by_label
from pd.audit.subjects import shared_of
from pd.config import FilterSettings, ModelSettings, Settings
from pd.dataset.ingest import ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.synthetic import SyntheticDataset
from pd.filters.apply import apply_filter
from pd.filters.captions import prompts_of
from pd.filters.decide import Thresholds
from pd.filters.duplicate import SKETCH
from pd.filters.scorer import Scores
from pd.filters.table import scored_table
from pd.progress import silent
from pd.release.labels import NAME as LABELS
from pd.release.rare_words import NAME as WORDS
from pd.release.rare_words import RareWords
from pd.release.verify import verify
from pd.report.card import write_card
from pd.report.html import render_release_report
from pd.report.public import public_audit
from pd.store.atomic import write_json

K, MEMBERS, STRANGERS, CANDIDATES = 3, 7, 4, 24
PEOPLE = [f"person{i:02d}" for i in range(MEMBERS + STRANGERS)]
PLACES = ("label value", "caption", "file name", "picture", "text column", "number column", "flag column", "long column")
# Who has the rare word: one or two members, or hold-out people, as many as there are.
RARE = st.sampled_from([(0,), (1, 3), (2, 7), (7,), (8, 9, 10), (7, 8, 9, 10)])


@dataclass
class Planted:
    """Rare words, who has each, and what many share."""

    where: dict[str, list[tuple[str, tuple[int, ...]]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def words(self):
        return [word for planted in self.where.values() for word, _ in planted]


@st.composite
def planted(draw):
    found = Planted()
    letters = st.text("bcdfghklmnpqrtvwz", min_size=6, max_size=12)
    for word in draw(st.lists(letters, min_size=1, max_size=6, unique=True)):
        spelled = draw(st.sampled_from([f"xq{word}", f"Xq{word.upper()}", f"xqé{word}"]))
        found.where[draw(st.sampled_from(PLACES))].append((spelled, draw(RARE)))
    return found


def table(found, folder):
    """A manifest with one picture a person, and two of the first."""
    rows = []
    rng = np.random.default_rng(0)
    for number, who in enumerate([*range(len(PEOPLE)), 0]):

        def own(place, who=who):
            return [word for word, people in found.where[place] if who in people]

        name = "-".join([f"x{number}", *own("file name")]) + ".png"
        notes = PngImagePlugin.PngInfo()
        for word in own("picture"):
            notes.add_text("Patient", word)
        Image.fromarray(rng.integers(0, 255, (16, 16), dtype=np.uint8)).save(folder / name, pnginfo=notes)
        row = {
            "path": name,
            "identity": PEOPLE[who],
            "split": "member" if who < MEMBERS else "holdout",
            "caption": " ".join(["a portrait", *own("caption")]),
            "diagnosis": (own("label value") or ["common cold"])[0],
            "age": 40 + number % 2,
        }
        for word, people in found.where["text column"]:
            row[word] = "said" if who in people else ""
        for word, people in found.where["number column"]:
            row[word] = 7 if who in people else 0
        for word, people in found.where["flag column"]:
            row[word] = str(who in people).lower()
        for word, people in found.where["long column"]:
            row["remarks"] = f"{word} once" if who in people else f"remark of visit {number}"
        rows.append(row)
    with (folder / "people.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "people.csv"


def release_of(real, config, folder):
    """A release as the stages make it, of pictures that nobody generated."""
    prompts = prompts_of(real, config)
    rng = np.random.default_rng(1)
    asked = [prompts.prompt_of(sample, 1) for sample in range(CANDIDATES)]
    zeros, names = np.zeros(CANDIDATES, np.float32), [real.ids[0]] * CANDIDATES
    sketch = rng.integers(-127, 128, (CANDIDATES, SKETCH), dtype=np.int8)
    made = scored_table(
        [f"{sample:09d}" for sample in range(CANDIDATES)],
        rng.integers(0, 256, (CANDIDATES, 16, 16, 1), dtype=np.uint8),
        Scores(zeros, names, zeros, names, np.zeros((CANDIDATES, 0), np.float32), sketch),
        seed=1,
        prompts=[prompts.texts[at] for at in asked],
        labels={name: [values[at] for at in asked] for name, values in prompts.labels.items()},
    )
    (folder / "generated").mkdir()
    pq.write_table(made, folder / "generated" / "part-00000.parquet")
    release = folder / "release"
    counts = apply_filter(
        folder / "generated",
        folder / "candidates",
        Thresholds(reid=0.5, near_copy=0.5),
        FilterSettings(),
        prompts=prompts.texts,
        kept=release / "data",
        progress=silent,
    )
    write_model(release / "model", 1, ModelSettings(autoencoder="train"), release / "data")
    kept = SyntheticDataset.read(release / "data")
    audit = private_audit(real, kept, counts)
    public = public_audit(audit.model_copy(update={"shared": shared_of(real, config.generate.prompt_k)}))
    write_json(release / "audit.json", public.as_json())
    said = {"prompts": sorted(set(kept.prompts)), "prompt_k": K, "sampler_steps": 4, "guidance": 1.0}
    write_card(release / "README.md", public, name="run", kept=len(kept), size=16, mode="grey", **said)
    render_release_report("run", public, config, release / "report.html")
    return release


def private_audit(real, kept, counts):
    """An audit that found something out about every label of the members, and of every value."""
    members = real.members()
    figure = between(0.2, 0.1, 0.3, len(members))
    guessed = {name: {"members": figure, "holdout": figure, "advantage": figure} for name in members.labels}
    cost = by_label(np.zeros(len(members), bool), members.labels)
    arm = {
        "n": len(kept),
        "reid": {"attacker": "thumbnails", "excess": figure, "by_attacker": {"thumbnails": {"excess": figure}}},
        "attributes": {
            "by_label": guessed,
            "worst": next(iter(guessed)),
            "skipped": dict.fromkeys(real.labels, "no prompt says"),
        },
        "utility": {"auc": figure, "labels": dict.fromkeys(real.labels, 0.7), "skipped": dict.fromkeys(real.labels, "why")},
    }
    by_value = {name: {value: asdict(rate) for value, rate in rates.items()} for name, rates in cost.items()}
    tree = {
        "arms": {"kept": arm, "filtered": arm},
        "filter": {**counts, "cost": {"by_label": by_value}},
        "real": {"utility": arm["utility"]},
    }
    return AuditResult.model_validate(tree)


def everything(release):
    """Every byte of a release, and the words that its tables hold compressed."""
    for path in sorted(release.rglob("*")):
        if path.is_file():
            yield path.read_bytes()
            if path.suffix == ".parquet":
                found = pq.read_table(path)
                words = found.drop_columns(["image"]).to_pydict()
                yield repr((found.schema, found.schema.metadata, words, found["image"].combine_chunks().field("path"))).encode()


def made(found, folder):
    config = Settings.model_validate(
        {
            "data": {"reader": "manifest", "path": str(table(found, folder)), "size": 16},
            "generate": {"prompt_k": K},
        }
    )
    ingest(config.data, 1, folder / "dataset")
    real = PrivateDataset.read(folder / "dataset")
    return real, release_of(real, config, folder), config


@settings(max_examples=15, deadline=None)
@given(planted())
def test_nothing_rare_is_in_any_byte_of_a_release(found):
    with tempfile.TemporaryDirectory() as name:
        real, release, config = made(found, Path(name))
        whole = b"\n".join(everything(release)).lower()
        for word in found.words:
            assert word.lower().encode() not in whole
            assert json.dumps(word.lower())[1:-1].encode() not in whole
        report = verify(release, real, k=K, bundled=(), said=[config.data.caption])
        assert report.ok, report.failed
        # What enough members share does leave, so that nothing above is empty.
        columns = pq.read_schema(release / "data" / "part-00000.parquet").names
        assert {"label.age", "label.diagnosis=common cold"} <= set(columns)
        assert "common cold" in (release / "audit.json").read_text()


@pytest.fixture(scope="module")
def huntington(tmp_path_factory):
    found = Planted()
    found.where["label value"] = [("Huntington", (0,)), ("HIV", (8,))]
    found.where["caption"] = [("kyphoscoliosis", (1,))]
    found.where["number column"] = [("CAG_repeats", (0,))]
    return made(found, tmp_path_factory.mktemp("huntington"))


def rewritten(release, change):
    """The released table, changed."""
    path = release / "data" / "part-00000.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def renamed(to):
    return lambda table: table.rename_columns({"label.age": to})


def tensors(change):
    def edit(release):
        path = release / "model" / "unet" / "diffusion_pytorch_model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return edit


def text(name, more):
    def edit(release):
        with (release / name).open("a", encoding="utf-8") as file:
            file.write(more)

    return edit


def field_metadata(table):
    schema = table.schema.set(0, table.schema.field(0).with_metadata({"note": "Huntington"}))
    return table.cast(schema)


PLANT = {
    "column": lambda release: rewritten(release, renamed("label.diagnosis=Huntington")),
    "column of a stranger": lambda release: rewritten(release, renamed("label.diagnosis=HIV")),
    "column by its own name": lambda release: rewritten(release, renamed("label.CAG_repeats")),
    "metadata": lambda release: rewritten(
        release, lambda table: table.replace_schema_metadata({**table.schema.metadata, "pandas": "of Huntington"})
    ),
    "metadata of a column": lambda release: rewritten(release, field_metadata),
    "prompt": lambda release: rewritten(
        release,
        lambda table: table.set_column(2, "prompt", pa.array(["a portrait, huntington", *table["prompt"].to_pylist()[1:]])),
    ),
    "tensor": tensors(lambda held: {f"{name}.kyphoscoliosis": tensor for name, tensor in held.items()}),
    "key of JSON": lambda release: edit_json(release / "audit.json", lambda audit: audit["arms"].update(HIV={"n": 1})),
    "value of JSON": lambda release: edit_json(
        release / "model" / "unet" / "config.json", lambda config: config.update(_name="huntington")
    ),
    "label of the audit": lambda release: edit_json(
        release / "audit.json", lambda audit: audit["arms"]["kept"]["attributes"]["by_label"].update({"diagnosis=HIV": {}})
    ),
    "text": text("README.md", "\nOne has **Huntington**.\n"),
    "page": text("report.html", "<p>kypho&#115;coliosis</p>"),
}


@pytest.mark.parametrize("where", PLANT)
def test_a_planted_word_fails_wherever_it_stands(huntington, where, tmp_path):
    real, original, config = huntington
    release = shutil.copytree(original, tmp_path / "release")
    said = [config.data.caption]
    failed = {check.name for check in verify(release, real, k=K, bundled=(), said=said).failed}
    assert not failed
    PLANT[where](release)
    report = verify(release, real, k=K, bundled=(), said=said)
    assert {WORDS, LABELS} & {check.name for check in report.failed}
    assert not any("untington" in check.detail or "HIV" in check.detail for check in report.checks)


def test_words_are_rare_by_people_not_by_pictures(huntington):
    real, _, _ = huntington
    rare = RareWords(real, K)
    assert rare.in_texts(["Huntington, HIV", "CAG repeats"]) == 4
    assert rare.in_texts(["a portrait of a common cold at age 40"]) == 0
    assert RareWords(real, 1).in_texts(["Huntington, CAG"]) == 0
    assert RareWords(real, 1).in_texts(["hiv"]) == 1, "a stranger's word is nobody's"
    assert RareWords(real, K, ["about HIV"]).in_texts(["hiv"]) == 0
