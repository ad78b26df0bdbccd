"""From members to a release with a guarantee, in tiny; the release is proven, and a false claim is not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from refusals import refused_as

from pd.config import DataSettings, FormalSettings, ModelSettings, parse_settings
from pd.dataset.images import encode_png
from pd.diffusion.adapter import attach
from pd.diffusion.components import build
from pd.dp.events import gaussian
from pd.dp.ledger import Ledger
from pd.engine.fit_many import fit_many
from pd.errors import UserError
from pd.progress import Reporter
from pd.release.checks import Check
from pd.release.formal import COVERED, EPSILON, check_formal
from pd.release.lineage import tensor_digest, weights_sha256
from pd.release.verify import bundled_digests
from pd.stages import formal as stage
from pd.stages.budget import budget_of, spent_by
from pd.stages.ingest import execute as ingest
from pd.stages.set_aside import set_aside
from pd.stages.spending import check_spent
from pd.stages.verify import check_release
from pd.store.context import Context
from pd.store.files import digest_file, digest_folder
from pd.store.run import Run
from pd.training.task import Task

MODEL = {
    "unet": "tiny", "steps": 2, "batch": 4, "workers": 0, "warmup": 0, "samples_every": 0,
}  # fmt: skip


def context(folder: Path, **formal: object) -> Context:
    """A run of 12 people of two pictures each, half of them members."""
    rng = np.random.default_rng(0)
    people = folder / "people"
    if not people.exists():
        for person in range(12):
            (people / f"p{person}").mkdir(parents=True)
            for number in range(2):
                picture = rng.integers(0, 256, (16, 16, 1)).astype(np.uint8)
                (people / f"p{person}" / f"{number}.png").write_bytes(encode_png(picture))
    tree = {
        "name": "t",
        "runs": str(folder / "runs"),
        "data": {"reader": "folder", "path": str(people), "size": 16},
        "generate": {"sampler_steps": 2, "batch": 4, "prompt_k": 2},
        "formal": {
            "epsilon": 8, "delta": 0.05, "steps": 2, "batch": 3, "noise_draws": 2, "samples": 4, "reproducible": True,
            "model": MODEL, **formal,
        },
    }  # fmt: skip
    settings = parse_settings(tree)
    run = Run(settings.run_dir)
    found = Context(settings, run, Reporter())
    if not run.dataset.exists():
        ingest(found)
    return found


def checks_of(release: Path) -> list[Check]:
    return check_formal(release, bundled_digests(release / "formal" / "model" / "vae"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Context:
    found = context(tmp_path_factory.mktemp("formal"))
    stage.execute(found)
    return found


def test_release_is_proven(made: Context) -> None:
    checks = checks_of(made.run.release)
    assert [check.ok for check in checks] == [True, True], checks
    names = {path.name for path in made.run.formal.iterdir()}
    assert names == {"model", "data", "ledger.json", "claim.json", "lineage.json", "README.md"}
    claim = json.loads((made.run.formal / "claim.json").read_text(encoding="utf-8"))
    assert 6 < claim["epsilon"] <= 8
    assert claim["reproducible"]
    assert not (made.run.work / "formal").exists()  # the key is gone


def test_card_says_what_is_promised_and_what_not(made: Context) -> None:
    card = (made.run.formal / "README.md").read_text(encoding="utf-8")
    assert "at delta 0.05" in card
    assert "was not measured" in card
    assert "void to whoever knows the seed" in card
    assert "no formal guarantee" in card


def test_a_model_that_is_no_longer_asked_for_leaves_the_release_and_comes_back(made: Context, tmp_path: Path) -> None:
    run, said = Run(tmp_path / "t"), []
    shutil.copytree(made.run.release, run.release)
    whole = digest_folder(run.formal)
    without = made.settings.model_copy(update={"formal": None})
    set_aside(run, without, said.append)
    assert not run.formal.exists()
    assert said == ["  release/formal is set aside in private/: the settings have no section `formal`"]
    set_aside(run, without, said.append)
    assert len(said) == 1
    set_aside(run, made.settings, said.append)
    assert digest_folder(run.formal) == whole  # so that the stage is done, and spends nothing again
    assert len(said) == 1
    assert not (run.private / "set_aside" / "formal").exists()


@pytest.mark.parametrize(("name", "change"), [("claim.json", "epsilon"), ("ledger.json", "noise"), ("model", "weights")])
def test_false_claims_are_found(made: Context, name: str, change: str, tmp_path: Path) -> None:
    copy = tmp_path / "release"
    shutil.copytree(made.run.release, copy)
    if change == "weights":
        file = next((copy / "formal" / "model" / "unet").glob("*.safetensors"))
        file.write_bytes(file.read_bytes()[:-4] + b"\0\1\2\3")
        assert next(check for check in checks_of(copy) if check.name == COVERED).ok is False
        return
    path = copy / "formal" / name
    tree = json.loads(path.read_text(encoding="utf-8"))
    if change == "epsilon":
        tree["epsilon"] /= 2
    else:
        tree["entries"] = tree["entries"][:-1]
    path.write_text(json.dumps(tree), encoding="utf-8")
    assert next(check for check in checks_of(copy) if check.name == EPSILON).ok is False


@pytest.mark.parametrize(
    "change", [{"epsilon": float("nan")}, {"epsilon": 10**400}, {"people": True}, {"people": -3}, {"people": 10**400}]
)
def test_claims_that_are_no_numbers_are_found(made: Context, change: dict[str, object], tmp_path: Path) -> None:
    copy = tmp_path / "release"
    shutil.copytree(made.run.release, copy)
    path = copy / "formal" / "claim.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    assert next(check for check in checks_of(copy) if check.name == EPSILON).ok is False


def test_a_trained_part_is_not_public(made: Context, tmp_path: Path) -> None:
    copy = tmp_path / "release"
    shutil.copytree(made.run.release, copy)
    path = copy / "formal" / "lineage.json"
    lines = json.loads(path.read_text(encoding="utf-8"))
    lines["text_encoder"] = {"sha256": lines["text_encoder"]["sha256"], "trained_on": lines["vae"]["trained_on"]}
    path.write_text(json.dumps(lines), encoding="utf-8")
    assert next(check for check in checks_of(copy) if check.name == COVERED).ok is False


def test_a_release_that_agrees_with_itself_alone_is_found(made: Context, tmp_path: Path) -> None:
    """Ledger, claim and lineage changed together: the run knows what it spent."""
    assert [check.ok for check in check_spent(made.run, made.run.release)] == [True]
    copy = tmp_path / "formal"
    shutil.copytree(made.run.formal, copy)
    assert check_release(copy, made.run.root).ok
    ledger = Ledger().spend("noisy sums", gaussian(5.0))
    ledger.save(copy / "ledger.json")
    digest = digest_file(copy / "ledger.json")
    claim, lines = (json.loads((copy / name).read_text(encoding="utf-8")) for name in ("claim.json", "lineage.json"))
    found = ledger.epsilon(claim["delta"])
    told = claim | {"epsilon": found.value, "accountant": found.accountant}
    named = {part: line | ({"ledger": digest} if "ledger" in line else {}) for part, line in lines.items()}
    (copy / "claim.json").write_text(json.dumps(told), encoding="utf-8")
    (copy / "lineage.json").write_text(json.dumps(named), encoding="utf-8")
    assert check_release(copy, None).ok
    (fault,) = check_release(copy, made.run.root).failed
    assert fault.detail == "it was released with another ledger"


def test_a_formal_model_alone_is_verified(made: Context, tmp_path: Path) -> None:
    copy = tmp_path / "model"
    shutil.copytree(made.run.formal, copy)
    assert check_release(copy, None).ok
    (copy / "scan.png").write_bytes(encode_png(np.zeros((16, 16, 1), np.uint8)))
    (fault,) = check_release(copy, None).failed
    assert "does not belong" in fault.detail


def test_an_autoencoder_that_nobody_knows_is_found(made: Context, tmp_path: Path) -> None:
    """Though its digest is written into the lineage: who trained it on private images could have done that, too."""
    copy = tmp_path / "release"
    shutil.copytree(made.run.release, copy)
    vae, lineage = copy / "formal" / "model" / "vae", copy / "formal" / "lineage.json"
    lines = json.loads(lineage.read_text(encoding="utf-8"))
    assert lines["vae"]["from"].startswith("bundled autoencoder ")
    file = next(vae.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-4] + b"\0\1\2\3")
    lines["vae"]["sha256"] = weights_sha256(vae)
    for named in (lines["vae"]["from"], f"bundled autoencoder {tensor_digest(vae)}", "somewhere", None):
        lines["vae"] = {name: value for name, value in lines["vae"].items() if name != "from"} | (
            {"from": named} if named else {}
        )
        lineage.write_text(json.dumps(lines), encoding="utf-8")
        found = next(check for check in checks_of(copy) if check.name == COVERED)
        assert found.ok is False
        assert found.detail.startswith("vae: ")


def test_runs_add_up(made: Context) -> None:
    rows = spent_by([made.run.root])
    both = spent_by([made.run.root, made.run.root])
    assert both["epsilon together"] > rows["epsilon together"]
    assert rows["epsilon together"] == Ledger.load(made.run.formal / "ledger.json").epsilon(0.05).value


def test_same_seed_same_weights(made: Context, tmp_path: Path) -> None:
    again = context(tmp_path)
    stage.execute(again)
    files = [next((one.run.formal / "model" / "unet").glob("*.safetensors")) for one in (made, again)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("adversary", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_student_of_a_private_teacher_costs_no_more(made: Context, tmp_path: Path, adversary: bool) -> None:
    found = context(tmp_path, method="dp_sad", adversary=adversary, student_steps=2)
    stage.execute(found)
    assert all(check.ok for check in checks_of(found.run.release))
    assert Ledger.load(found.run.formal / "ledger.json") == Ledger.load(made.run.formal / "ledger.json")


def test_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def many(tasks: list[Task], *given: object, **named: object) -> list[Path]:
        asked.append(len(tasks))
        return fit_many(tasks, *given, **named)

    monkeypatch.setattr(stage, "fit_many", many)
    found = context(tmp_path, method="dp_sad", teacher="ensemble", teachers=3, samples=0)
    stage.execute(found)
    assert asked == [3]  # side by side
    assert all(check.ok for check in checks_of(found.run.release))
    assert json.loads((found.run.formal / "ledger.json").read_text(encoding="utf-8"))["relation"] == "replace"


@pytest.mark.exhaustive
def test_a_begun_training_does_not_go_on_with_other_settings_and_is_in_the_ledger_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stage, "make", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.execute(context(tmp_path))
        others: list[dict[str, object]] = [{"learning_rate": 1e-3}, {"images_per_person": 1}]
        for other in others:
            with pytest.raises(UserError, match="was begun on other data, labels or captions"):
                stage.execute(context(tmp_path, **other))
    found = context(tmp_path, samples=0, canaries=0)  # these change nothing of the weights
    with monkeypatch.context() as patched:
        patched.setattr(stage, "write_claim", killed)
        with pytest.raises(KeyboardInterrupt):
            stage.execute(found)
    assert not found.run.formal.exists()
    assert found.run.ledger.exists()
    stage.execute(found)
    assert len(json.loads(found.run.ledger.read_text(encoding="utf-8"))["models"]) == 1


def test_of_a_base_with_additions_these_alone_are_counted() -> None:
    settings = ModelSettings(unet="tiny")
    parts = build(settings, DataSettings(size=16), 0)
    whole = sum(value.numel() for value in parts.unet.parameters())
    assert stage.trained_weights(parts, FormalSettings(model=settings)) == whole
    lora = ModelSettings(unet="tiny", base="a/b", adapter="lora", lora_rank=2)
    attach(parts.unet, parts.text_encoder, lora, 0)
    counted = stage.trained_weights(parts, FormalSettings(model=lora))
    assert counted == sum(value.numel() for name, value in parts.unet.named_parameters() if "lora_" in name)
    assert 0 < counted < whole / 2


def test_paper_is_refused_unless_no_guarantee_is_wanted(tmp_path: Path) -> None:
    with refused_as("no-guarantee", "formal.accounting"):
        stage.execute(context(tmp_path, method="dp_sad", accounting="paper"))
    found = context(tmp_path, method="dp_sad", accounting="paper", accept_no_guarantee=True, samples=0)
    stage.execute(found)
    claim = json.loads((found.run.formal / "claim.json").read_text(encoding="utf-8"))
    assert claim["epsilon"] is None
    card = (found.run.formal / "README.md").read_text(encoding="utf-8")
    assert "WITHOUT a privacy guarantee" in card
    rows = budget_of(found.settings, 6)
    assert rows["epsilon"] == "no guarantee (accounting: paper)"
    assert 7 < rows["epsilon that the paper would claim"] <= 8
    assert rows["noise multiplier in effect, over 500"] == rows["noise multiplier"] / 500
    assert f"the paper would claim epsilon {rows['epsilon that the paper would claim']:.3g}" in card
    claim["no_guarantee_accepted"] = False
    (found.run.formal / "claim.json").write_text(json.dumps(claim), encoding="utf-8")
    assert checks_of(found.run.release)[0].ok is False


def test_a_finished_model_gets_a_bound_without_spending_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise of a second training would be paid for, though the first model is as good."""
    first = context(tmp_path, samples=0)
    stage.execute(first)
    weights, spent = weights_sha256(first.run.formal / "model" / "unet"), first.run.ledger.read_bytes()
    found = context(tmp_path, canaries=20, samples=4)

    def trained_again(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(stage, "make", trained_again)
    facts = stage.execute(found)
    assert weights_sha256(found.run.formal / "model" / "unet") == weights
    assert (found.run.formal / "data").exists()
    assert found.run.ledger.read_bytes() == spent
    assert all(check.ok for check in checks_of(found.run.release))
    assert all(check.ok for check in check_spent(found.run, found.run.release))
    with pytest.raises(AssertionError):
        stage.execute(context(tmp_path, samples=4, learning_rate=1e-3))
    monkeypatch.undo()
    assert 0 <= facts["lower bound"] <= 8
    card = (found.run.formal / "README.md").read_text(encoding="utf-8")
    assert "20 canaries" in card
    assert "a second training on the same people, which no ledger counts" in card


def test_budget_says_what_is_not_measured(made: Context) -> None:
    assert budget_of(made.settings, 6)["lower bound on epsilon"] == "not measured"
    assert "lower bound not measured" in next(check.detail for check in checks_of(made.run.release) if check.name == EPSILON)


def test_budget_of_an_ensemble_is_by_its_own_figure(made: Context) -> None:
    tree = made.settings.model_dump(mode="json")
    tree["formal"] |= {"method": "dp_sad", "teacher": "ensemble", "epsilon": 10, "delta": 1e-5}
    assert budget_of(parse_settings(tree), 60_000)["a model of use is"] == "out of reach"


def test_budget_says_that_few_people_are_too_few(made: Context) -> None:
    rows = budget_of(made.settings, 19)
    assert rows["a model of use is"] == "out of reach"
    assert "19 people" in str(rows["why"])


def test_public_pictures_that_are_private_are_refused(tmp_path: Path) -> None:
    found = context(tmp_path, public=True)
    with refused_as("bad-options", "`public`"):
        stage.execute(found)
    tree = found.settings.model_dump(mode="json") | {"public": {"path": str(tmp_path / "people")}}
    with refused_as("shared-images", "public.path"):
        stage.execute(Context(parse_settings(tree), found.run, Reporter()))
