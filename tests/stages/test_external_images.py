"""What `pd audit --real --synthetic` says and keeps of the images that it compares; small, without training."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from small_people import QUICK, manifest_of, reporter, small_people

from pd.dataset.synthetic import SyntheticDataset
from pd.stages.external import audit_folders


def test_what_the_size_and_the_mode_take_away_is_said_and_kept(tmp_path: Path) -> None:
    people, out = small_people(tmp_path / "people", size=48, mode="RGB"), tmp_path / "audit.json"
    talk, said = reporter()
    audit_folders(str(people), str(people), out, QUICK, talk)
    assert "images are compared at 32x32 pixels, grey; 48 of the real ones are larger and 48 have colours" in said.getvalue()
    assert "--set data.size=64 --set data.mode=rgb" in said.getvalue()
    kept = json.loads(out.read_text())["images"]
    assert kept == {"size": 32, "mode": "grey", "shrunk": 48, "coloured": 48, "split_drawn": True}
    talk, said = reporter()
    audit_folders(str(people), str(people), None, [*QUICK, "data.size=48", "data.mode=rgb"], talk)
    assert "images are compared at 48x48 pixels, rgb\n" in said.getvalue()


def test_a_releases_data_are_audited_with_their_prompts_and_labels(tmp_path: Path) -> None:
    """Utility, label disclosure and extraction by prompt are asked of `release/data` as the run's own audit asks them."""
    people = small_people(tmp_path / "people", each=4)
    real = manifest_of(people, ",beard", ",0")
    lines = real.read_text().splitlines()
    rows = [row[:-1] + str(number % 2) for number, row in enumerate(lines[1:])]
    real.write_text("\n".join([lines[0], *rows]) + "\n")
    pixels = np.stack([np.asarray(Image.open(people / row.split(",")[0]))[..., None] for row in rows])
    beards = np.array([float(row[-1]) for row in rows])
    prompts = [f"a face {'with' if beard else 'without'} a beard" for beard in beards]
    ids = [str(number) for number in range(len(rows))]
    SyntheticDataset(ids, pixels, prompts, {"beard": beards}).write(tmp_path / "data")
    found = audit_folders(str(real), str(tmp_path / "data"), None, QUICK, reporter()[0]).as_json()["arms"]["synthetic"]
    assert set(found["utility"]["labels"]) == {"beard"}
    assert set(found["attributes"]["by_label"]) | set(found["attributes"]["skipped"]) == {"beard"}
    assert found["extraction"]["prompts"] == 2
    bare = audit_folders(str(real), str(people), None, QUICK, reporter()[0]).as_json()["arms"]["synthetic"]
    assert bare["utility"]["why"] == "the samples have no labels"
    assert bare["extraction"]["prompts"] == 1


def test_uncertain_findings_are_read_as_asked_on_both_sides(tmp_path: Path) -> None:
    people = small_people(tmp_path / "people", each=4)
    real = manifest_of(people, ",Edema", ",0")
    lines = real.read_text().splitlines()
    findings = [(1, 0, -1)[number % 3] for number in range(len(lines) - 1)]
    real.write_text(
        "\n".join([lines[0], *(f"{row[:-1]}{value}" for row, value in zip(lines[1:], findings, strict=True))]) + "\n"
    )
    pixels = np.stack([np.asarray(Image.open(people / row.split(",")[0]))[..., None] for row in lines[1:]])
    ids = [str(number) for number in range(len(findings))]
    labels = {"Edema": np.array(findings, float)}
    SyntheticDataset(ids, pixels, ["a chest X-ray"] * len(ids), labels).write(tmp_path / "data")

    def labels_with(*more: str) -> set[str]:
        found = audit_folders(str(real), str(tmp_path / "data"), None, [*QUICK, *more], reporter()[0])
        utility = found.as_json()["arms"]["synthetic"]["utility"]
        return set(utility["labels"]) if "labels" in utility else set()

    assert "Edema" in labels_with("data.uncertain=positive")
    assert "Edema" not in labels_with()  # apart: neither yes nor no can be told from three values
