"""Rooms hand typed values to each other: nothing is dug out of a mapping of anything by a string, but at JSON's edge."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pd

ROOT = Path(pd.__file__).parent
ANYTHING = ("dict[str, Any]", "Mapping[str, Any]")
FACTS = "a stage's facts: JSON values for its record and `pd status`"
BLOCK = "a block of rows as Ray Data hands it over, or facts of the stream that made it"
TUNE = "a trial's settings and figures as Ray Tune hands them over"
CHECKPOINT = "the state of a checkpoint, JSON"
ROW = "a trial as a line of sweep.json, whose columns are the settings that were searched"
LABELS = "figures.json and changed.json of the stage `labels`"
EDGES: dict[str, str] = {
    "audit/figures:Figures.as_json": "writes JSON",
    "audit/figures:Figures.given": "a model's fields by name, for another model of the same fields",
    "condense/experts:weights_of": "a network's tensors, by torch's names",
    "config/load:parse_settings": "reads YAML",
    "config/settings:flatten": "settings by dotted keys, as they are overridden",
    "dataset/clips:read_clip": "a row of Parquet, whose schema stands beside it",
    "dataset/images:to_arrays": "Parquet rows in Hugging Face's image struct",
    "dataset/readers/table:Table.records": "rows of somebody's table",
    "dp/ledger:Ledger.to_json": "writes JSON",
    "doctor/licence:front": "the YAML of somebody's model card",
    "filters/decide:Thresholds.from_json": "reads JSON",
    "filters/leak_quantile:Row.of": "reads JSON",
    "filters/leak_quantile:as_json": "writes JSON",
    "filters/prompts:Prompts.from_json": "reads JSON",
    "filters/prompts:Prompts.to_json": "writes JSON",
    "classifier/plan:Plan.to_json": "writes JSON",
    "formal/plan:Plan.to_json": "writes JSON",
    "formal/private_training:Planned.to_json": "writes JSON",
    "release/files:header": "the header of a safetensors file",
    "report/compare:Compared.as_json": "writes JSON",
    "report/public:public_settings": "settings as YAML shows them",
    "report/data:ReportData.labels": LABELS,
    "report/data:ReportData.sweep": ROW,
    "report/labels:labels_section": LABELS,
    "report/sweeps:sweep_chart": ROW,
    "report/sweeps:sweep_choice": ROW,
    "stages/classifier_audit:Usefulness.to_json": "writes JSON",
    "stages/classifier_audit:audited": "private/classifier.json, JSON",
    "stages/plan:as_json": "writes JSON",
    "stages/spending:models": "reads JSON",
    "store/lineage:Record.facts": FACTS,
    "store/lineage:Record.settings": "settings as a record holds them, to be compared",
    "store/lineage:why_stale": "settings as a record holds them, to be compared",
    "sweep/judge:figures_of": ROW,
    "sweep/result:conclude": ROW,
    "training/checkpoint:load": CHECKPOINT,
    "training/checkpoint:save": CHECKPOINT,
    "training/divergence:LossWatch.load": CHECKPOINT,
    "training/divergence:LossWatch.state": CHECKPOINT,
    "engine/training/checkpoint:write_client": CHECKPOINT,
    "engine/training/engine:TrainEngine.save": CHECKPOINT,
    "engine/shared_folder:storage": "options of pyarrow's file systems",
    "engine/training/definition:counting": "settings that make another model, as a digest reads them",
    "engine/training/metrics:TrainingMeters.show": "a step's figures, for progress.jsonl",
    "engine/training/tracking:shared_settings": "settings for MLflow",
    **dict.fromkeys(
        (
            "engine/stream/candidates:generate",
            "engine/stream/candidates:make_shards",
            "engine/stream/candidates:score_images",
            "engine/stream/make:nothing_more",
            "engine/stream/make:run_shards",
            "engine/stream/metrics:Meters.add",
            "engine/stream/pool:built",
            "engine/stream/pool:run_pool",
            "engine/stream/shards:Shard.of",
            "engine/stream/work:done_row",
        ),
        BLOCK,
    ),
    **dict.fromkeys(
        (
            "engine/full_trials:full_trial",
            "engine/sweep:climb",
            "engine/sweep_trial:RungTrial.reset_config",
            "engine/sweep_trial:RungTrial.setup",
            "engine/sweep_trial:RungTrial.step",
            "stages/sweep:cheap_trial",
        ),
        TUNE,
    ),
    **dict.fromkeys(
        (
            "engine/train_student:train_student",
            "engine/training/train:train_model",
            "engine/training/usage:Watch.facts",
            "filters/apply:apply_filter",
            "pipeline:StageState.facts",
            "stages/student:take_private",
            "stages/student_data:student_data",
        ),
        FACTS,
    ),
}
"""Where a value of JSON, or of another library, comes in or goes out -> what it is."""


def _signatures(path: Path) -> Iterator[tuple[str, str]]:
    """Public functions, methods and fields of a module, and the source of what they are annotated with."""

    def of(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
        for node in body:
            name = getattr(node, "name", None) or ast.unparse(getattr(node, "target", ast.Constant("")))
            if name.startswith("_"):
                continue
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                parts = [node.returns, *(argument.annotation for argument in arguments)]
                yield prefix + name, " ".join(ast.unparse(part) for part in parts if part)
            elif isinstance(node, ast.ClassDef):
                yield from of(node.body, f"{prefix}{name}.")
            elif isinstance(node, ast.AnnAssign) and prefix:
                yield prefix + name, ast.unparse(node.annotation)

    yield from of(ast.parse(path.read_text(encoding="utf-8")).body, "")


def _untyped() -> Iterator[str]:
    for path in sorted(ROOT.rglob("*.py")):
        module = path.relative_to(ROOT).with_suffix("").as_posix()
        for name, annotation in _signatures(path):
            if any(anything in annotation for anything in ANYTHING):
                yield f"{module}:{name}"


def test_a_mapping_of_anything_crosses_no_border_but_at_jsons_edge() -> None:
    found = set(_untyped())
    assert found - set(EDGES) == set(), "give it a type, or name the edge and its reason"
    assert set(EDGES) - found == set(), "these edges are no more"
