from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from pd.cli.reference import settings_page
from pd.config import ModelSettings, Settings, commented_yaml, flatten, load_settings, parse_settings, section_keys
from pd.errors import UserError

CONFIGS = sorted((Path(__file__).parent.parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_settings_are_valid(path: Path) -> None:
    assert load_settings(path).name == path.stem


def test_pd_init_writes_the_defaults_with_every_key_explained() -> None:
    text = commented_yaml()
    assert parse_settings(yaml.safe_load(text)) == Settings()
    for key in flatten(Settings().model_dump(mode="json")):
        assert f"{key.split('.')[-1]}:" in text


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("teacher.stepz=3", "teacher.steps"),
        ("techer.steps=3", "teacher.steps"),
        ("reid.calibration.quantil=0.5", "reid.calibration.quantile"),
        ("sede=3", "seed"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest_valid_one(key: str, nearest: str) -> None:
    with pytest.raises(UserError, match=f"did you mean '{nearest}'"):
        parse_settings({}, [key])


def test_an_unknown_key_in_the_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("teacher:\n  stepz: 3\n")
    with pytest.raises(UserError, match=r"a\.yaml: unknown key 'teacher\.stepz'.*teacher\.steps"):
        load_settings(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("teacher: [1", "not valid YAML"),
        ("- a\n- b", "not a mapping"),
        ("seed: -1", "seed = -1"),
        ("teacher: {learning_rate: .inf}", "learning_rate"),
        ("data: {size: 33}", "data.size = 33"),
        ("teacher: 3", "teacher = 3"),
        ("audit: {arms: [nobody]}", "audit.arms"),
        ("teacher: {workers: [2, 1]}", "teacher.workers = [2, 1]: write a number, or [min, max] with 1 <= min <= max"),
        ("teacher: {workers: [0, 2]}", "teacher.workers = [0, 2]"),
        ("teacher: {workers: -1}", "teacher.workers = -1"),
        ("teacher: {micro_batch: most}", "teacher.micro_batch = 'most': write a number of at least 1, or auto"),
        ("teacher: {micro_batch: 0}", "teacher.micro_batch = 0"),
        ("teacher: {precision: fp16}", "teacher.precision = 'fp16': float16 overflows"),
        ("teacher: {precision: fp16}", "set precision: bf16"),
        (
            "teacher: {base: x, train_unet: frozen, train_text_encoder: false}",
            "teacher: train_unet and train_text_encoder are both",
        ),
        ("reid: {teacher: classes}", "yaml: reid.teacher teaches crrcd, aird or g2d, and reid.method names none of them"),
        ("reid: {teacher: classes, method: supcon}", "reid.method names none"),
        ("teacher: {adapter: lora}", "teacher: lora (train_unet and train_text_encoder) adapts what a base has learned"),
        ("teacher: {train_text_encoder: lora}", "teacher: lora (train_text_encoder)"),
        ("teacher: {train_unet: frozen}", "random weights: name a base"),
        ("student: {prediction: epsilon}", "set zero_terminal_snr: false, or prediction: v_prediction"),
        ("student: {autoencoder: base}", "there is no base: name one, or set autoencoder: bundled"),
        ("student: {revision: v1}", "revision = v1 is of a base on the hub, and there is no base"),
        ("teacher: {offload: optimizer, zero_stage: 0}", "set zero_stage to 1, 2 or 3"),
        (
            "sweep: {constraints: [excess_high below 0.02]}",
            "'excess_high below 0.02' is no constraint; write excess_high <= 0.02",
        ),
        ("sweep: {constraints: [exces <= 0.02]}", "no figure 'exces'; did you mean 'excess'?"),
        ("sweep: {prefer: keep}", "did you mean 'kept'?"),
        ("sweep: {objectives: [kept, loss]}", "no figure 'loss'"),
        (
            "sweep: {constraints: [copies <= 0.02]}",
            "no figure 'copies'; a search measures excess, excess_low, excess_high, utility, utility_low, utility_high, kept, "
            "coverage, balance",
        ),
        ("sweep: {reid_quantile: [0.9, 0.5]}", "write [from, to] with from <= to"),
    ],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        load_settings(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_a_lone_word_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such settings file"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="no '='"):
        parse_settings({}, ["seed"])


def test_overrides_win_over_the_file() -> None:
    settings = parse_settings({"teacher": {"steps": 5}}, ["teacher.steps=9", "student.unet=tiny"])
    assert (settings.teacher.steps, settings.student.unet) == (9, "tiny")


def test_the_digest_names_what_matters_and_nothing_else() -> None:
    base = Settings()
    assert parse_settings({}, ["runs=elsewhere", "name=other", "address=auto", "sweep.trials=9"]).digest() == base.digest()
    assert parse_settings({}, ["seed=8"]).digest() != base.digest()


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().seed = 3  # type: ignore[misc]


def test_every_key_is_listed_once() -> None:
    keys = list(section_keys())
    assert len(keys) == len(set(keys))
    assert set(flatten(Settings().model_dump(mode="json"))) <= set(keys)


@pytest.mark.parametrize(
    ("keys", "unet", "text_encoder"),
    [
        ({}, "full", "full"),
        ({"train_text_encoder": True}, "full", "full"),
        ({"train_text_encoder": False}, "full", "frozen"),
        ({"base": "b", "adapter": "lora"}, "lora", "lora"),
        ({"base": "b", "adapter": "lora", "train_text_encoder": False}, "lora", "frozen"),
        ({"base": "b", "adapter": "lora", "train_unet": "full"}, "full", "lora"),
        ({"base": "b", "train_unet": "frozen", "train_text_encoder": "lora"}, "frozen", "lora"),
    ],
)
def test_what_is_trained_of_each_part(keys: dict[str, object], unet: str, text_encoder: str) -> None:
    settings = ModelSettings.model_validate(keys)
    assert (settings.unet_training, settings.text_encoder_training) == (unet, text_encoder)
    assert settings.trains_text_encoder == (text_encoder != "frozen")


def test_workers_are_a_number_or_a_range() -> None:
    found = parse_settings({"teacher": {"workers": [1, 4]}}, ["student.workers=[2,2]", "teacher.micro_batch=auto"])
    assert (found.teacher.min_workers, found.teacher.max_workers) == (1, 4)
    assert found.student.workers == 2
    assert found.teacher.micro_batch == "auto"
    alone = ModelSettings(workers=0)
    assert (alone.min_workers, alone.max_workers) == (0, 0)
    again = parse_settings(yaml.safe_load(commented_yaml(found)))
    assert again == found
    assert again.digest() == found.digest() != Settings().digest()


@pytest.mark.parametrize("key", ["runs", "data.path"])
def test_a_place_in_a_bucket_is_written_as_it_was_read(key):
    found = parse_settings({"data": {"reader": "folder"}}, [f"{key}=s3://bucket/x"])
    assert "s3://bucket/x" in commented_yaml(found)
    assert parse_settings(yaml.safe_load(commented_yaml(found))) == found
    with pytest.raises(UserError, match="neither a local path nor s3://"):
        parse_settings({}, [f"{key}=gs://bucket/x"])
    with pytest.raises(UserError, match="credentials do not belong in a URL") as refused:
        parse_settings({}, [f"{key}=s3://key:hush@bucket/x"])
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(
    ("key", "instead"),
    [("tracking.mlflow", "MLFLOW_TRACKING_PASSWORD"), ("cluster.address", "RAY_AUTH_TOKEN")],
)
@pytest.mark.parametrize("url", ["https://me:hunter2@host:5000", "http://hunter2@host", "http://me:hun/hunter2@host"])
def test_credentials_in_addresses_are_refused_and_not_repeated(key: str, instead: str, url: str) -> None:
    with pytest.raises(UserError, match=f"{key}: credentials do not belong in an address.*{instead}") as refused:
        parse_settings({}, [f"{key}={url}"])
    assert "hunter2" not in str(refused.value)
    section = key.partition(".")[0]
    with pytest.raises(UserError, match=f"{section} = ") as refused:  # where no address is expected
        parse_settings({section: url})
    assert "hunter2" not in str(refused.value)


def test_addresses_without_credentials_are_taken() -> None:
    taken = parse_settings({"tracking": {"mlflow": "http://host:5000/a"}, "cluster": {"address": "https://host:8265"}})
    assert (taken.tracking.mlflow, taken.cluster.address) == ("http://host:5000/a", "https://host:8265")
    assert parse_settings({"tracking": {"mlflow": "some@folder"}}).tracking.mlflow == "some@folder"


def _own_defaults(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, BaseModel]]:
    """Each key that holds a section by default which has values of its own."""
    for name, field in model.model_fields.items():
        for kind in get_args(field.annotation) or (field.annotation,):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _own_defaults(kind, f"{prefix}{name}.")
        if isinstance(field.default, BaseModel) and field.default.model_fields_set:
            yield f"{prefix}{name}", field.default


OWN = list(_own_defaults(Settings))


def test_sections_have_defaults_of_their_own() -> None:
    assert {"labels.training", "classifier.student", "screen.training", "condense.training", "formal.model"} <= {
        key for key, *_ in OWN
    }


@pytest.mark.parametrize(("key", "default"), OWN, ids=[key for key, *_ in OWN])
def test_to_set_one_key_of_a_section_keeps_its_other_defaults(key: str, default: BaseModel) -> None:
    section, *_ = key.split(".")
    needed = {"labels": {"votes": "votes.csv"}, "classifier": {"label": "x"}, "condense": {"labels": ["x"]}}
    data = {"reader": "video"} if section == "screen" else {}
    found: Any = parse_settings({"data": data, section: needed.get(section, {})}, [f"{key}.learning_rate=0.125"])
    for part in key.split("."):
        found = getattr(found, part)
    assert found == default.model_copy(update={"learning_rate": 0.125})


def test_the_page_of_settings_shows_the_defaults_of_each_section() -> None:
    assert "| `labels.training.steps` | `900` |" in settings_page()
    assert "| `formal.model.unet` | `tiny` |" in settings_page()
