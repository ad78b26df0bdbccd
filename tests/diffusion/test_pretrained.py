import fnmatch
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from refusals import refused_as

from pd.diffusion import pretrained
from pd.errors import UserError


def test_of_a_hub_repository_only_json_and_plain_safetensors_are_fetched(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwanted = ["unet/code.py", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.fp16.safetensors"]
    unwanted += [
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "v2-1_512.ckpt",
        "v2-1_512.safetensors",
        "vae/x.pt",
    ]
    for name in unwanted:
        (base / name).write_bytes(b"unwanted")
    asked: list[tuple[str, str | None]] = []

    def download(repo: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((repo, revision))
        names = [path.relative_to(base).as_posix() for path in base.rglob("*") if path.is_file()]
        for name in names:
            if any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (tmp_path / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(base / name, tmp_path / "cache" / name)
        return str(tmp_path / "cache")

    monkeypatch.setattr(pretrained, "snapshot_download", download)
    folder = pretrained.locate("some/model", "v1")
    assert asked == [("some/model", "v1")]
    assert not any((folder / name).exists() for name in unwanted)
    assert pretrained.read(folder).unet.config.in_channels == 4


@pytest.mark.parametrize(
    ("error", "match"),
    [(RepositoryNotFoundError, "no such model on the hub"), (RevisionNotFoundError, "no such revision")],
)
def test_what_the_hub_has_not_is_named(
    error: type[RepositoryNotFoundError] | type[RevisionNotFoundError], match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(repo: str, **options: object) -> str:
        raise error("not there", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(pretrained, "snapshot_download", download)
    with pytest.raises(UserError, match=match) as caught:
        pretrained.locate("some/model", "v1")
    assert "base = some/model, revision = v1" in str(caught.value)


def test_a_path_is_never_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained, "snapshot_download", lambda *args, **options: pytest.fail("asked the hub"))
    for base in (str(tmp_path / "gone"), "./models/sd", "../sd", "~/sd", "models", "a/b/c"):
        with refused_as("missing-weights"):
            pretrained.locate(base)


def test_a_name_that_the_hub_does_not_allow_is_one_clear_error() -> None:
    with refused_as("missing-weights"):
        pretrained.locate("some/mo--del")
