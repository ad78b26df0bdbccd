"""Labels that were worked out, beside the data set: what they replace stays in it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pd.config.labels import PROBABILITY
from pd.dataset.private import PrivateDataset, labels_of
from pd.errors import UserError

FILE = "labels.parquet"

# The 14 observations of the CheXpert labeller: 1, 0, -1 for uncertain, blank for not mentioned.
OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

Uncertain = Literal["apart", "positive", "negative", "missing"]
Unmentioned = Literal["missing", "negative"]
_UNCERTAIN = {"positive": 1.0, "negative": 0.0, "missing": float("nan")}


def write_labels(
    folder: Path,
    ids: Sequence[str],
    values: Mapping[str, Sequence[str | float | None]],
    probabilities: Mapping[str, npt.NDArray[np.float64]],
) -> None:
    """Write `labels.parquet`: `id`, and of each label its column and `NAME.probability`, (N,) float64.

    Args:
        folder: is there.
        ids: of the N images.
        values: name -> N words, or N numbers; None where the label is open.
        probabilities: name -> of the value given, or of the most probable one where it is open; NaN where nothing is known.
    """
    columns: dict[str, object] = {"id": list(ids)}
    for name, column in values.items():
        number = all(value is None or isinstance(value, float) for value in column)
        columns[name] = pa.array(column, pa.float64() if number else pa.string())
        columns[f"{name}{PROBABILITY}"] = probabilities[name]
    pq.write_table(pa.table(columns), folder / FILE)


def worked_out(real: PrivateDataset, folder: Path) -> PrivateDataset:
    """The same images with the labels in `folder` in place of those of their names.

    Words of both stay in `texts`: whoever looks for words that must not leave finds either.

    Raises:
        UserError: they are not there, or are of other images.
    """
    try:
        table = pq.read_table(folder / FILE)
    except (OSError, pa.ArrowInvalid):
        raise UserError("no labels here", code="not-done", where=str(folder), fix="run `pd run` again") from None
    at = pc.index_in(pa.array(real.ids, pa.string()), value_set=table["id"])
    if at.null_count:
        raise UserError("the labels are of other images", code="other-inputs", where=str(folder), fix="run `pd run` again")
    names = [name for name in table.column_names if name != "id" and not name.endswith(PROBABILITY)]
    table = table.take(at).select(names)
    found = labels_of(table, pa.array([split == "member" for split in real.splits]))
    kept = {name: values for name, values in real.labels.items() if name not in names and name.rpartition("=")[0] not in names}
    texts = {name: table[name].to_pylist() for name in names if pa.types.is_string(table[name].type)}
    old = {f"{name} as given" if name in texts else name: words for name, words in real.texts.items()}
    return replace(real, labels={**kept, **found}, texts={**old, **texts})


def is_report(name: str, values: npt.NDArray[np.float64]) -> bool:
    """Whether a label is a report labeler's: all known values are -1, 0 or 1, and it has a -1 or is one of OBSERVATIONS."""
    present = set(np.unique(values[np.isfinite(values)]).tolist())
    return present <= {-1.0, 0.0, 1.0} and (-1.0 in present or name in OBSERVATIONS)


def report_labels(
    real: PrivateDataset,
    uncertain: Uncertain,
    unmentioned: Unmentioned,
) -> PrivateDataset:
    """The same images with -1 and blanks of a report labeler's columns read as asked; the files stay as they are."""
    if uncertain == "apart" and unmentioned == "missing":
        return real
    return replace(
        real, labels={name: report_values(name, values, uncertain, unmentioned) for name, values in real.labels.items()}
    )


def report_values(
    name: str, values: npt.NDArray[np.float64], uncertain: Uncertain, unmentioned: Unmentioned
) -> npt.NDArray[np.float64]:
    """A label's values, (N,) float64, with -1 and NaN of a report labeler's column read as asked; others as they are."""
    if (uncertain == "apart" and unmentioned == "missing") or not is_report(name, values):
        return values
    read = values if uncertain == "apart" else np.where(values == -1, _UNCERTAIN[uncertain], values)
    return np.where(np.isnan(values), 0.0, read) if unmentioned == "negative" else read
