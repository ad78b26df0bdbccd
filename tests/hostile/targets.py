"""What is fed with hostile inputs, and what must hold whatever it is fed: a result or a UserError, and nothing else written.

Each target takes a folder of its own and a random generator, and says `read` or `refused`.
"""

import io
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from hostile import inputs
from hostile.mutate import mutated, word
from rich.console import Console
from rich.table import Table

from pd.audit.results import AuditResult
from pd.config import DataSettings, Settings, commented_yaml, flatten, load_settings, parse_settings
from pd.dataset.decode import BadImage, decode, load, quiet
from pd.dataset.external import list_images, read_images
from pd.dataset.images import encode_png, to_arrays
from pd.dataset.ingest import fingerprint, ingest
from pd.dataset.private import PrivateDataset
from pd.dataset.readable import bring_in, reading
from pd.errors import UserError
from pd.progress import Reporter, shown
from pd.release.checks import judge
from pd.report.card import write_card
from pd.report.data import Candidates, Counts, ReportData
from pd.report.html import render_report
from pd.stages.verify import checks_table
from pd.store.atomic import write_folder
from pd.store.places import Place

SECRET = 1000
MODES = ("crop", "pad", "stretch")


class Broken(AssertionError):
    """A property that does not hold."""


def image(root: Path, rng: np.random.Generator) -> str:
    settings = DataSettings(size=16, max_pixels=10_000, resize=MODES[rng.integers(3)], mode=("grey", "rgb")[rng.integers(2)])
    try:
        with quiet():
            decoded = decode(load(inputs.bad_picture(rng), settings), settings)
    except BadImage:
        return "refused"
    _holds(decoded.pixels.shape == (16, 16, 1 if settings.mode == "grey" else 3), "another size than asked for")
    return "read"


def folder(root: Path, rng: np.random.Generator) -> str:
    return _ingested(root, inputs.folder(root, rng), "folder")


def manifest_csv(root: Path, rng: np.random.Generator) -> str:
    return _ingested(root, inputs.manifest_csv(root, rng), "manifest")


def manifest_parquet(root: Path, rng: np.random.Generator) -> str:
    return _ingested(root, inputs.manifest_parquet(root, rng), "manifest")


def json_lines(root: Path, rng: np.random.Generator) -> str:
    return _ingested(root, inputs.json_lines(root, rng), "manifest")


def dicom(root: Path, rng: np.random.Generator) -> str:
    with quiet():
        return _ingested(root, inputs.dicom(root, rng), "dicom")


def tar_of_people(root: Path, rng: np.random.Generator) -> str:
    """A hostile shard as private input."""
    settings = {"preset": "webdataset", "identity_from": "^(.*)$"}
    return _ingested(root, inputs.tar(root, rng, rows=24), "folder", **settings)  # so many that six people may be left


def parquet(root: Path, rng: np.random.Generator) -> str:
    return _examined(inputs.parquet(root, rng))


def tar(root: Path, rng: np.random.Generator) -> str:
    return _examined(inputs.tar(root, rng))


def given(root: Path, rng: np.random.Generator) -> str:
    """The images of an option, in a form that a reader brings in."""
    make = (inputs.manifest_csv, inputs.manifest_parquet, inputs.json_lines, inputs.dicom, inputs.tar)[rng.integers(5)]
    named = {inputs.dicom: {"reader": "dicom"}, inputs.tar: {"preset": "webdataset"}}.get(make, {"reader": "manifest"})
    pixels = 300_000 if make is inputs.dicom else 10_000
    with quiet():
        return _brought_in(root, make(root, rng), size=16, on_bad_image="skip", max_pixels=pixels, **named)


def settings_file(root: Path, rng: np.random.Generator) -> str:
    defaults = flatten(Settings().model_dump(mode="json"))
    keys = sorted(defaults)
    if rng.integers(2):
        text = mutated(commented_yaml().encode(), rng)
    else:
        tree: dict[str, object] = {"data": {"caption": word(rng)}}
        for _ in range(rng.integers(1, 6)):
            section, _, key = keys[rng.integers(len(keys))].partition(".")
            value = defaults[f"{section}.{key}" if key else section]
            if rng.integers(4) == 0:
                value = word(rng) if rng.integers(2) else float(rng.normal())
            tree |= {section: {key: value}} if key and "." not in key else {}
        text = yaml.safe_dump(tree, allow_unicode=bool(rng.integers(2))).encode()
        if rng.integers(4) == 0:
            text = text.replace(b": ", f": {word(rng)}".encode(), 1)
    path = root / "pd.yaml"
    path.write_bytes(text)
    try:
        found = load_settings(path, [f"{keys[rng.integers(len(keys))]}={word(rng)}"] if rng.integers(4) == 0 else [])
    except UserError as error:
        return _one_line(error)
    _holds(parse_settings(found.model_dump(mode="json")) == found, "settings do not survive being written")
    path.write_text(commented_yaml(found), encoding="utf-8")
    _holds(load_settings(path).digest() == found.digest(), "the file that is written says something else")
    return "read"


def page(root: Path, rng: np.random.Generator) -> str:
    """The report and the card of a run whose every word means harm."""
    words = [word(rng) for _ in range(8)]
    figure = {"value": float(rng.normal()), "low": -1.0, "high": 1.0, "n": 4}
    arm = {
        "n": 4,
        "reid": {"attacker": words[0], "excess": figure},
        "fidelity": {"kid": {**figure, "features": words[2]}},
        "membership": {"why": words[1]},
    }
    tree = {"arms": {"teacher": arm, words[3]: arm}, "filter": {"dropped": {words[4]: 1}}, "less_than": {words[5]: figure}}
    audit = AuditResult.model_validate(tree)
    scores = np.array([0.5, 0.9, 0.1, np.nan], np.float32)
    rows = Candidates(words[:4], scores, words[2:6], np.array([True, False, True, False]), ["", words[5], "", words[6]], {})
    data = ReportData(
        run=words[0],
        created=words[1],
        counts=Counts(2, 4, 8, 8),
        settings=Settings.model_validate({"data": {"subject": words[2]}}),
        audit=audit,
        candidates=rows,
        threshold=0.5,
        real={words[2]: inputs.picture(2)},
        samples={"teacher": [inputs.picture(1)] * 2},
        stranger_scores=scores[:3],
        member_scores=scores[:3],
        verification={},
        stage_seconds={words[5]: 1.0},
        versions={words[6]: words[7]},
        lineage={words[0]: words[1]},
    )
    try:
        text = render_report(data, root / "run" / "report.html").read_text(encoding="utf-8")
    except UserError as error:
        return _one_line(error)
    seen = _Tags(text)
    _holds(not seen.tags - TAGS, f"tags {seen.tags - TAGS}")
    _holds(not any(name.startswith("on") for name in seen.attributes), "a handler of events")
    _holds(all(link == "data:," or link.startswith(("data:image/", "#")) for link in seen.links), "a link that leads out")
    _holds(_harmless(text, "\n\t"), "control characters in the page")
    prompts = words[:3]
    card = {"name": words[0], "kept": 3, "size": 16, "mode": "grey", "prompts": prompts, "prompt_k": 3, "sampler_steps": 2}
    text = write_card(root / "run" / "README.md", audit, guidance=1.0, **card).read_text(encoding="utf-8")
    _holds(_harmless(text, "\n\t"), "control characters in the card")
    prose = text.split("\n---\n", 1)[1].splitlines()  # after the YAML, which says n<1K
    prose = [line for line in prose if not line.startswith("image = pipeline(")]  # code, where markup is text
    _holds(not any("<" in line.replace("\\<", "") for line in prose), "markup in the card")
    return "read"


def terminal(root: Path, rng: np.random.Generator) -> str:
    """Everything that is said, with words that mean harm in it."""
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False)
    words = [word(rng) for _ in range(4)]
    reporter = Reporter(console)
    reporter.say(words[0])
    with reporter.task(words[1]) as progress:
        progress.begin = progress.due = 0.0  # a line is due at once
        progress(1, 2, {words[2]: words[3]})
    console.print(checks_table([judge(words[0], words[1:], words[2])]))
    table = Table(title=shown(words[3]))
    table.add_column("x")
    table.add_row(shown(words[2]))
    console.print(table)
    _holds(_harmless(out.getvalue(), "\n"), "control characters on the terminal")
    return "read"


_ALL = (image, folder, manifest_csv, manifest_parquet, parquet, tar, settings_file, page, terminal)
_ALL += (json_lines, dicom, tar_of_people, given)
TARGETS: dict[str, Callable[[Path, np.random.Generator], str]] = {each.__name__: each for each in _ALL}


@contextmanager
def watched(root: Path) -> Iterator[Path]:
    """A folder for one input; at the end nothing but `run` and what the input itself brought may lie beside it."""
    shutil.rmtree(root, ignore_errors=True)
    inner = root / "in"
    inner.mkdir(parents=True)
    (inner / "secret.png").write_bytes(inputs.picture(SECRET))
    yield inner
    _holds({path.name for path in root.iterdir()} == {"in"}, "a file outside")
    known = {"secret.png", "people", "set", "theirs", "pd.yaml", "run"}
    _holds({path.name for path in inner.iterdir()} <= known, "a file beside the input")
    _holds((inner / "secret.png").read_bytes() == inputs.picture(SECRET), "a file outside was altered")


def _ingested(root: Path, source: Path, reader: str, **more: str) -> str:
    pixels = 300_000 if reader == "dicom" else 10_000
    settings = DataSettings(reader=reader, path=source, size=16, on_bad_image="skip", max_pixels=pixels, **more)
    before = _listing(source if source.is_dir() else source.parent)
    try:
        fingerprint(settings)
        with write_folder(root / "run") as out:
            ingest(settings, 7, out)
    except UserError as error:
        return _one_line(error)
    finally:
        _holds(_listing(source if source.is_dir() else source.parent) == before, "the source was altered")
    data = PrivateDataset.read(root / "run")
    held = encode_png(to_arrays([inputs.picture(SECRET)])[0])
    taken = [row["bytes"] for file in (root / "run").glob("*.parquet") for row in pq.read_table(file)["image"].to_pylist()]
    _holds(held not in taken, "an image from outside the folder was read")
    _holds(len(data) == len(taken) > 0, "rows were lost")
    for path in [root / "run", *(root / "run").rglob("*")]:
        _holds(not path.stat().st_mode & 0o077, "a private file that others may read")
    return "read"


def _brought_in(root: Path, source: Path, **settings: Any) -> str:
    place = Place.parse(str(source))
    before = _listing(source if source.is_dir() else source.parent)
    try:
        how = reading(place, DataSettings.model_validate(settings))
        assert how is not None
        found = bring_in(place, how, root / "run")
    except UserError as error:
        return _one_line(error)
    finally:
        _holds(_listing(source if source.is_dir() else source.parent) == before, "the source was altered")
    names = found.images.ids
    _holds(len(names) == len(set(names)) > 0, "two images of one name")
    held = dict(read_images(found.place, found.images, how))
    _holds(not any(isinstance(image, BadImage) for image in held.values()), "a bad image was kept")
    secret = to_arrays([inputs.picture(SECRET)])[0]
    _holds(not any(np.array_equal(image, secret) for image in held.values()), "an image from outside the folder was read")
    prompts, labels = found.labelled()
    _holds({len(prompts), *map(len, labels.values())} == {len(names)}, "labels were lost")
    found.texts(found.images)
    try:
        found.people()
    except UserError as error:
        return _one_line(error)
    for path in [root / "run", *(root / "run").rglob("*")]:
        _holds(not path.stat().st_mode & 0o077, "a private file that others may read")
    return "read"


def _examined(source: Path) -> str:
    settings = DataSettings(size=16, on_bad_image="skip", max_pixels=10_000)
    place = Place.parse(str(source))
    try:
        images = list_images(place)
        with quiet():
            _holds(len(list(read_images(place, images, settings))) == len(images), "images were lost")
    except UserError as error:
        return _one_line(error)
    return "read"


def _listing(source: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in source.rglob("*"))


def _one_line(error: UserError) -> str:
    out = io.StringIO()
    Console(file=out, highlight=False).print(shown(str(error)), soft_wrap=True)
    _holds(_harmless(out.getvalue(), "\n"), "control characters in an error")
    _holds(len(str(error)) < 5000, "an error of pages")
    return "refused"


def _harmless(text: str, allowed: str) -> bool:
    """Nothing that moves the cursor, starts an ANSI sequence, or turns the direction of reading."""
    return not any(
        (ord(letter) < 32 or 127 <= ord(letter) < 160 or letter in "\u061c\u200e\u200f\ufeff" or letter in _TURNS)
        and letter not in allowed
        for letter in text
    )


_TURNS = "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


def _holds(condition: bool, what: str) -> None:
    if not condition:
        raise Broken(what)


class _Tags(HTMLParser):
    """Tags, names of attributes, and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "xlink:href")]


TAGS = set(
    re.findall(
        r"\w+",
        """html head meta title style link body main header footer nav section article aside h1 h2 h3 h4 p a ul ol li dl dt dd
        div span strong em i b small img figure figcaption table caption thead tbody tfoot tr th td pre code br hr details
        summary svg g path rect line text circle polyline polygon desc defs clippath use""",
    )
)
