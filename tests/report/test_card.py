"""The card: what the hub reads, what people read, and code that runs."""

import re

import numpy as np
import pytest
from audits import without
from huggingface_hub import DatasetCard, ModelCard
from releases import write_release

from pd.audit.results import AuditResult
from pd.report.card import NO_GUARANTEE, write_card

PROMPTS = ["a photo of a face", 'a "photo" of [a face] | with `glasses`']


@pytest.fixture
def card(report_data, tmp_path):
    def write(audit=report_data.audit, **options):
        given = {"name": "faces", "kept": 125, "size": 48, "mode": "grey", "prompts": PROMPTS, "prompt_k": 3}
        return write_card(tmp_path / "README.md", audit, sampler_steps=2, guidance=1.0, **{**given, **options})

    return write


def test_the_hub_reads_it_as_model_and_as_data(card):
    model = ModelCard.load(card()).data
    assert (model.library_name, model.pipeline_tag, model.license) == ("diffusers", "text-to-image", "other")
    data = DatasetCard.load(card()).data.to_dict()
    assert data["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}]
    assert "base_model" not in data
    assert ModelCard.load(card(base="owner/name")).data.base_model == "owner/name"


def test_figures_and_the_missing_guarantee(card):
    text = card().read_text()
    assert text.count(NO_GUARANTEE) == 2
    assert NO_GUARANTEE == "A filtered student carries no formal privacy guarantee."
    assert "| **Excess** | **64.3 %** (61.8 to 66.8 %) | **3.0 %** (1.0 to 5.0 %) | **6.0 %** (4.0 to 8.0 %) |" in text
    assert "Fréchet distance, EfficientNet-Lite0 features" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_the_data_are_audited_or_it_says_that_they_were_not(card, report_data):
    assert "The audit attacked all of them" in card().read_text()  # 125, of which the audit asked for 1,024
    assert "attacked the first 1,024, as it did" in card(kept=5000).read_text()
    text = card(audit=without(report_data.audit, "arms", "kept")).read_text()
    assert "They were not audited, and the student's figures say nothing of them." in text
    assert "the released data were not audited" in text


def test_prompts_do_not_break_the_text(card):
    text = card().read_text()
    assert 'a "photo" of \\[a face\\] \\| with \\`glasses\\`' in text


def test_nothing_was_audited(card):
    text = card(audit=AuditResult()).read_text()
    assert "No audit was made of this release." in text
    assert "Nothing can be said about re-identification" in text


def snippets(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)


def test_the_data_load_as_the_card_says(report_data, tmp_path, monkeypatch):
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 1), dtype=np.uint8)
    write_release(tmp_path / "release", images, ["a photo of a face"] * 4, report_data.audit)
    monkeypatch.chdir(tmp_path / "release")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    names = {}
    exec(snippets(tmp_path / "release/README.md")[1], names)
    assert len(names["images"]) == 4
    assert np.array_equal(np.asarray(names["images"][1]["image"]), images[1, ..., 0])


def test_the_model_loads_as_the_card_says(card, tmp_path, monkeypatch):
    import torch
    from diffusers import AutoencoderKL

    from pd.config import DataSettings, ModelSettings
    from pd.diffusion.components import build
    from pd.diffusion.export import export

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(**blocks, block_out_channels=(8, 8), norm_num_groups=4, sample_size=16)
    settings = ModelSettings(unet="tiny", autoencoder="train")
    export(build(settings, DataSettings(size=16), seed=1, vae=vae), tmp_path / "model")
    monkeypatch.chdir(card().parent)
    names = {}
    exec(snippets(tmp_path / "README.md")[0], names)
    assert names["image"].size == (16, 16)


def test_it_says_how_labels_were_made(card):
    assert (
        "weighed by each annotator's estimated errors (Dawid-Skene). They can be wrong."
        in card(labels="dawid_skene").read_text()
    )
    assert "were worked out" not in card().read_text()
