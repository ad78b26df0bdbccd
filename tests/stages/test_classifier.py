"""A run's private classifier, released with its proof; anybody's images; what is refused before the work."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pd.config import FormalSettings, parse_settings
from pd.dataset.images import encode_png
from pd.dp.ledger import Ledger
from pd.errors import UserError
from pd.pipeline import run_pipeline, states
from pd.progress import Reporter
from pd.release.classifier import COVERED, EPSILON, SAME, check_classifier
from pd.release.files import check_files
from pd.release.lineage import weights_sha256
from pd.release.sums import SIGNED
from pd.stages import classifier as stage
from pd.stages.budget import budget_of, spent_by
from pd.stages.classifier_images import classifier_of_images
from pd.stages.ingest import execute as ingest
from pd.stages.plan import _classifier
from pd.stages.spending import CLASSIFIER
from pd.stages.verify import check_release
from pd.store.context import Context
from pd.store.run import Run

PEOPLE = 48
SHORT = {"steps": 2}
SMALL = {
    "label": "hat", "delta": 1e-2, "teachers": 2, "queries": 8, "rounds": 2, "width": 8, "batch": 4, "latent": 4,
    "teacher": SHORT, "student": SHORT, "generator": SHORT, "sgd_steps": 2, "sgd_batch": 8, "reproducible": True,
}  # fmt: skip


def picture(rng: np.random.Generator, bright: bool) -> bytes:
    pixels = rng.integers(0, 80, (16, 16, 1)).astype(np.uint8)
    pixels[:8] += 150 * np.uint8(bright)
    return encode_png(pixels)


def context(folder: Path, tree: dict[str, object] | None = None, **classifier: object) -> Context:
    """A run of 48 people of two pictures each, half of them members; every other one wears a hat."""
    rng = np.random.default_rng(0)
    file = folder / "people.parquet"
    if not file.exists():
        who = [f"p{number // 2:02d}" for number in range(2 * PEOPLE)]
        hats = ["hat" if number // 2 % 2 else "none" for number in range(2 * PEOPLE)]
        columns = {
            "image": pa.array([picture(rng, hat == "hat") for hat in hats], pa.binary()),
            "identity": pa.array(who),
            "hat": pa.array(hats),
            "age": pa.array([float(number) for number in range(2 * PEOPLE)]),
        }
        pq.write_table(pa.table(columns), file)
    settings = parse_settings(
        {
            "name": "t",
            "runs": str(folder / "runs"),
            "data": {"reader": "manifest", "path": str(file), "size": 16},
            "classifier": {**SMALL, "method": "generated", **classifier},
            **(tree or {}),
        }
    )
    run = Run(settings.run_dir)
    found = Context(settings, run, Reporter())
    if not run.dataset.exists():
        ingest(found)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Context:
    found = context(tmp_path_factory.mktemp("classifier"), baseline="card", canaries=20, shadows=2)
    stage.execute(found)
    return found


def test_release_is_proven(made: Context) -> None:
    checks = check_classifier(made.run.classifier)
    assert [(check.name, check.ok) for check in checks] == [(EPSILON, True), (COVERED, True), (SAME, True)], checks
    assert check_release(made.run.classifier, None).ok
    strange = next(check for check in check_files(made.run.release) if check.name.startswith("only files"))
    assert strange.ok, strange
    assert not (made.run.work / "classifier").exists()  # the key is gone
    config = json.loads((made.run.classifier / "config.json").read_text(encoding="utf-8"))
    assert config["names"] == ["hat", "none"]


def test_the_card_says_which_is_better_and_pays_for_it(made: Context) -> None:
    card = (made.run.classifier / "README.md").read_text(encoding="utf-8")
    assert "of DP-SGD at the same epsilon, on hold-out people" in card
    assert "20 canaries" in card
    assert "onnxruntime.InferenceSession" in card
    assert "void to whoever knows the seed" in card
    claim = json.loads((made.run.classifier / "claim.json").read_text(encoding="utf-8"))
    assert 10 < claim["epsilon"] < 20  # the classifier's ten, and the baseline's
    assert len(Ledger.load(made.run.classifier / "ledger.json").entries) == 2


def test_the_audit_is_private_and_has_intervals_and_subgroups(made: Context) -> None:
    audit = json.loads(made.run.classifier_audit.read_text(encoding="utf-8"))
    for side in ("utility", "dp_sgd"):
        value = audit[side]["accuracy"]
        assert value["low"] <= value["value"] <= value["high"]
    assert {"class hat", "class none", "hat=hat"} <= set(audit["utility"]["by"])
    assert 0 <= audit["membership"]["unprotected"]["auc"]["value"] <= 1
    assert audit["membership"]["released"]["members"] == PEOPLE  # two images of each of 24 members
    assert audit["lower_bound"]["canaries"] == 20


def test_runs_add_up(made: Context) -> None:
    rows = spent_by([made.run.root])
    claim = json.loads((made.run.classifier / "claim.json").read_text(encoding="utf-8"))
    assert rows["epsilon together"] == pytest.approx(claim["epsilon"])


@pytest.mark.parametrize(("name", "check"), [("claim.json", EPSILON), ("model.safetensors", COVERED), ("model.onnx", SAME)])
def test_false_claims_are_found(made: Context, name: str, check: str, tmp_path: Path) -> None:
    copy = tmp_path / "classifier"
    shutil.copytree(made.run.classifier, copy)
    file = copy / name
    if name == "claim.json":
        tree = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(tree | {"epsilon": tree["epsilon"] / 2}), encoding="utf-8")
    else:
        file.write_bytes(file.read_bytes()[:-4] + b"\0\1\2\3")
    assert next(found for found in check_classifier(copy) if found.name == check).ok is False
    assert not check_release(copy, None).ok


def test_the_folder_of_a_classifier_holds_nothing_else(made: Context, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made.run.classifier, copy)
    assert check_release(copy, made.run.root).ok
    (copy / "people.png").write_bytes(picture(np.random.default_rng(0), bright=True))
    assert [check.name for check in check_release(copy, None).failed] == ["only files that belong in a release"]
    (copy / "people.png").unlink()
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAA somebody\n", encoding="utf-8")
    assert [check.name for check in check_release(copy, None, signer=key).failed] == [SIGNED]
    claim = json.loads((copy / "claim.json").read_text(encoding="utf-8"))
    (copy / "claim.json").write_text(json.dumps(claim | {"people": 20}), encoding="utf-8")
    assert check_release(copy, None).ok
    assert [check.name for check in check_release(copy, made.run.root).failed] == [CLASSIFIER]


def test_the_ledger_knows_it_before_it_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = context(tmp_path, method="dp_sgd", onnx=False)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "released", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.execute(found)
    assert found.run.classifier_ledger.exists()
    stage.execute(found)
    (model,) = json.loads(found.run.classifier_ledger.read_text(encoding="utf-8"))["models"]
    assert model["weights"] == weights_sha256(found.run.classifier)


def test_paper_is_refused_unless_no_guarantee_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no guarantee"):
        stage.execute(context(tmp_path, accounting="paper"))
    found = context(tmp_path, accounting="paper", accept_no_guarantee=True, onnx=False)
    assert stage.execute(found)["epsilon"] == "no guarantee"
    assert "WITHOUT a privacy guarantee" in (found.run.classifier / "README.md").read_text(encoding="utf-8")
    assert all(check.ok for check in check_classifier(found.run.classifier))
    claim = found.run.classifier / "claim.json"
    tree = json.loads(claim.read_text(encoding="utf-8"))
    claim.write_text(json.dumps(tree | {"no_guarantee_accepted": False}), encoding="utf-8")
    assert check_classifier(found.run.classifier)[0].ok is False


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"label": "age"}, "different values are too many to be classes|classes are of fewer than"),
        ({"label": "shoes"}, "no column 'shoes'"),
        ({"teachers": 20}, "24 people for 20 teachers"),
        ({"sigma": 0.1}, "beyond 10"),
        ({"method": "pate"}, "no section `public`"),
    ],
)
def test_bad_input_is_one_line_before_the_work(made: Context, how: dict[str, object], words: str) -> None:
    found = context(made.run.root.parents[1], **how)
    with pytest.raises(UserError, match=words):
        stage.execute(found)
    assert not (found.run.work / "classifier").exists()


def test_a_run_says_what_is_wrong_before_its_other_stages(tmp_path: Path) -> None:
    """The classifier comes after teacher and student, which take hours."""
    settings = context(tmp_path, teachers=13).settings
    with pytest.raises(UserError, match="24 people for 13 teachers"):
        run_pipeline(settings, Reporter())
    assert [state.name for state in states(settings) if state.state == "done"] == ["ingest"]
    formal = settings.model_copy(update={"classifier": None, "formal": FormalSettings(delta=0.5)})
    with pytest.raises(UserError, match="not below 1 / 24 people"):
        run_pipeline(formal, Reporter())
    assert [state.name for state in states(formal) if state.state == "done"] == ["ingest"]


def test_public_pictures_that_are_private_ones_are_refused(made: Context, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        (tmp_path / "public").mkdir(exist_ok=True)
        (tmp_path / "public" / f"{number}.png").write_bytes(encode_png(rng.integers(0, 256, (16, 16, 1)).astype(np.uint8)))
    section = {"public": {"path": str(tmp_path / "public")}}
    folder = made.run.root.parents[1]
    with pytest.raises(UserError, match="9 queries, and 8 public pictures"):
        stage.execute(context(folder, section, method="pate", queries=9))
    (tmp_path / "public" / "p01").mkdir()
    with pytest.raises(UserError, match="1 folders of public pictures are named like private people"):
        stage.execute(context(folder, section, method="pate"))
    (tmp_path / "public" / "p01").rmdir()
    private = pq.read_table(folder / "people.parquet", columns=["image"])["image"]
    for number in range(8):
        (tmp_path / "public" / f"same{number}.png").write_bytes(private[2 * number].as_py())
    with pytest.raises(UserError, match="public pictures are private ones"):
        stage.execute(context(folder, section, method="pate"))


def test_budget_and_plan_count_it(made: Context) -> None:
    rows = budget_of(made.settings, 24)
    assert rows["teachers"] == 2
    assert rows["epsilon"] <= 10 < rows["epsilon with the baseline that the card names"]
    assert _classifier(made.settings).images > 4 * (2 * 2 + 2 * 2)
    few = context(made.run.root.parents[1], epsilon=2.0)
    assert budget_of(few.settings, 24)["teachers for 9 of 10 right, 10 classes"] > 2


OVERRIDES = (
    "data.size=16", "classifier.queries_from=noise", "classifier.delta=0.01", "classifier.width=8", "classifier.teachers=2",
    "classifier.queries=4", "classifier.sigma=2", "classifier.teacher.steps=2", "classifier.student.steps=2",
    "classifier.reproducible=true",
)  # fmt: skip


def test_anybodys_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, bright in (("dark", False), ("bright", True)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "in" / name / f"{number}.png").write_bytes(picture(rng, bright))
    found = classifier_of_images(str(tmp_path / "in"), "folder", tmp_path / "out", OVERRIDES, Reporter())
    assert (found["classes"], found["people"], found["images"]) == (2, 12, 12)
    assert check_release(tmp_path / "out", None).ok
    assert found["lower bound"] == "not measured"
    assert spent_by([tmp_path / "out"])["epsilon together"] == pytest.approx(found["epsilon"])  # it has no run
    with pytest.raises(UserError, match="no label 'hat'"):
        classifier_of_images(str(tmp_path / "in"), "hat", tmp_path / "other", OVERRIDES, Reporter())
    with pytest.raises(UserError, match="holds other things"):
        classifier_of_images(str(tmp_path / "in"), "folder", tmp_path / "in", OVERRIDES, Reporter())


@pytest.mark.parametrize("asked", ["baseline=card", "shadows=2"])
def test_of_anybodys_images_nobody_is_held_out(asked: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="nobody is held out"):
        classifier_of_images(str(tmp_path / "in"), "folder", tmp_path / "out", (*OVERRIDES, f"classifier.{asked}"), Reporter())


def test_anybodys_parquet_says_who_is_who(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "image": pa.array([picture(rng, bool(number % 2)) for number in range(16)], pa.binary()),
        "identity": pa.array([f"p{number // 2}" for number in range(16)]),
        "label.smiling": pa.array([float(number % 2) for number in range(16)]),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    found = classifier_of_images(str(tmp_path / "in.parquet"), "smiling", tmp_path / "out", OVERRIDES, Reporter())
    assert (found["classes"], found["people"], found["images"]) == (2, 8, 16)
