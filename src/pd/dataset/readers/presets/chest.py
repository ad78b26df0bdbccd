"""Chest X-rays: NIH ChestX-ray14, CheXpert, MIMIC-CXR-JPG and PadChest."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pd.config import ColumnSettings, DataSettings
from pd.dataset.readers.ages import years_of
from pd.dataset.readers.columns import LONGEST, overlaid
from pd.dataset.readers.folder import image_names
from pd.dataset.readers.manifest import source_of
from pd.dataset.readers.presets.tables import find, joined, read, there
from pd.dataset.readers.source import Source
from pd.dataset.readers.table import table_in_memory
from pd.dataset.worked_out import OBSERVATIONS
from pd.errors import UserError
from pd.store.paths import inside


def nih_chestxray14(settings: DataSettings) -> Source:
    """`Data_Entry_2017*.csv` beside `images*/images/*.png`; findings stand in one cell, with `|` between them."""
    folder = settings.path
    assert folder is not None
    file = find(folder, ("Data_Entry_2017*.csv",), "table")
    table = read(file, ("Image Index", "Patient ID", "Finding Labels"), ("Image Index", "Patient ID", "Finding Labels"))
    lies = {name.rpartition("/")[2]: name for name in image_names(folder, {})}
    paths = [lies.get(name, f"images/{name}") for name in table["Image Index"].to_pylist()]
    table = table.append_column("file_name", pa.array(paths, pa.string()))
    table = _in_years(table, "Patient Age")  # 058Y in the first version of the table, 58 in later ones
    labels = there(table, ("Patient Age", "Patient Gender", "Patient Sex", "View Position"))
    columns = ColumnSettings(image="file_name", identity="Patient ID", findings="Finding Labels", labels=labels)
    columns = overlaid(columns, settings.columns)
    return source_of(table_in_memory(table, str(file)), folder, columns, settings.identity_from, files=(file,))


def chexpert(settings: DataSettings) -> Source:
    """`train.csv` and `valid.csv`, whose paths begin with the set's folder: `CheXpert-v1.0-small/train/patient00001/...`."""
    folder = settings.path
    assert folder is not None
    find(folder, ("train.csv", "valid.csv"), "table")
    files = tuple(file for file in (folder / "train.csv", folder / "valid.csv") if file.is_file())
    tables = [read(file, ("Path",), ("Path", *OBSERVATIONS)) for file in files]
    names = [*there(tables[0], ("Sex", "Age", "Frontal/Lateral", "AP/PA")), *OBSERVATIONS]
    kinds = {name: pa.float64() if name in (*OBSERVATIONS, "Age") else pa.string() for name in names}
    parts = [pa.table({"Path": table["Path"], **{name: _as(table, name, kinds[name]) for name in names}}) for table in tables]
    table = pa.concat_tables(parts)
    # below the folder, whatever that is called here
    path = pc.replace_substring_regex(table["Path"], r"^.*?((train|valid|test)/)", r"\1")
    person = pc.replace_substring_regex(table["Path"], r"^.*(patient\d+).*$", r"\1")
    table = table.append_column("file_name", path).append_column("patient", person)
    columns = overlaid(ColumnSettings(image="file_name", identity="patient", labels=tuple(names)), settings.columns)
    return source_of(table_in_memory(table, str(files[0])), folder, columns, settings.identity_from, files=files)


def mimic_cxr(settings: DataSettings) -> Source:
    """Two tables, of pictures and of studies, over `files/p10/p10000032/s50414267/DICOM_ID.jpg`.

    Where `data.caption` is report, captions are the reports of MIMIC-CXR, `files/p10/p10000032/s50414267.txt`, also below
    `mimic-cxr-reports/`; a study without one has no caption.
    """
    folder = settings.path
    assert folder is not None
    keys = ("subject_id", "study_id", "dicom_id")
    pictures_file = find(folder, ("mimic-cxr-2*-metadata.csv*",), "table of pictures")
    findings_file = find(folder, ("mimic-cxr-2*-chexpert.csv*",), "table of findings")
    pictures = read(pictures_file, keys, keys)
    findings = read(findings_file, keys, (*keys[:2], *OBSERVATIONS))
    studies = findings["study_id"].to_pylist()
    at = {study: row for row, study in reversed(list(enumerate(studies)))}
    rows = pa.array([at.get(study) for study in pictures["study_id"].to_pylist()], pa.int64())
    subject, study, name = (pictures[key] for key in keys)
    start = pc.utf8_slice_codeunits(subject, 0, 2)
    path = joined("files/p", start, "/p", subject, "/s", study, "/", name, ".jpg")
    extra = there(pictures, ("ViewPosition",))
    table = pa.table(
        {"file_name": path, "subject_id": subject}
        | {name: pictures[name] for name in extra}
        | {name: _as(findings, name, pa.float64()).take(rows) for name in OBSERVATIONS}
    )
    columns = ColumnSettings(image="file_name", identity="subject_id", labels=(*extra, *OBSERVATIONS))
    files: tuple[Path, ...] = (pictures_file, findings_file)
    if settings.caption == "report":
        names = joined("files/p", start, "/p", subject, "/s", study, ".txt").to_pylist()
        found = _reports(folder, names)
        words = [_text(found[name]) if name in found else None for name in names]
        table = table.append_column("report", pa.array(words, pa.string()))
        columns, files = columns.model_copy(update={"caption": "report"}), (*files, *found.values())
    columns = overlaid(columns, settings.columns)
    return source_of(table_in_memory(table, str(pictures_file)), folder, columns, settings.identity_from, files=files)


def padchest(settings: DataSettings) -> Source:
    """One table over `ImageDir/ImageID`, pictures of 16 bits; findings are a list written as Python does."""
    folder = settings.path
    assert folder is not None
    file = find(folder, ("PADCHEST_chest_x_ray_images_labels*.csv*",), "table")
    needed = ("ImageID", "ImageDir", "PatientID", "Labels")
    table = read(file, (*needed, "Report", "PatientSex_DICOM", "Projection"), needed)
    nested = joined(table["ImageDir"], "/", table["ImageID"])
    flat = table["ImageID"]  # the archive holds them without folders
    root = folder.resolve()
    path = [a if a and (root / a).exists() else b for a, b in zip(nested.to_pylist(), flat.to_pylist(), strict=True)]
    table = table.append_column("file_name", pa.array(path, pa.string()))
    labels = there(table, ("PatientSex_DICOM", "Projection"))
    caption = "Report" if "Report" in table.column_names else None
    columns = ColumnSettings(image="file_name", identity="PatientID", caption=caption, findings="Labels", labels=labels)
    columns = overlaid(columns, settings.columns)
    return source_of(table_in_memory(table, str(file)), folder, columns, settings.identity_from, files=(file,))


def _reports(folder: Path, names: Sequence[str | None]) -> dict[str, Path]:
    """The reports that are there, by name.

    Raises:
        UserError: there is none.
    """
    root, found = folder.resolve(), dict[str, Path]()
    for name in dict.fromkeys(filter(None, names)):
        places = (inside(root, f"{above}{name}") for above in ("", "mimic-cxr-reports/"))
        file = next((file for file in places if file is not None and file.is_file()), None)
        if file is not None:
            found[name] = file
    if not found:
        what = "data.caption is report, and no report is here: files/p10/p10000032/s50414267.txt, or below mimic-cxr-reports/"
        fix = "unpack mimic-cxr-reports.zip of MIMIC-CXR here, or leave data.caption out"
        raise UserError(what, code="no-such-file", where=str(folder), fix=fix)
    return found


def _text(file: Path) -> str:
    """What a report says, as much as a caption may hold; the same for all pictures of its study."""
    try:
        with file.open("rb") as stream:
            return stream.read(LONGEST).decode(errors="replace").strip()
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", code="unreadable-file", where=str(file)) from None


def _in_years(table: pa.Table, name: str) -> pa.Table:
    """The table with a column of ages such as 058Y as numbers; one that holds anything else stays as it is."""
    if name not in table.column_names or not pa.types.is_string(table[name].type):
        return table
    words = table[name].to_pylist()
    ages = [years_of(word) if word else None for word in words]
    if any(word and age is None for word, age in zip(words, ages, strict=True)):
        return table
    return table.set_column(table.column_names.index(name), name, pa.array(ages, pa.int64()))


def _as(table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    """A column as one type; all blank in a small table, its type was not to be seen."""
    if name not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, kind)])
    try:
        return table[name].cast(kind)
    except pa.ArrowException:
        raise UserError(
            f"column '{name}' holds other things than numbers", code="bad-column", where="data.path", fix="check the table"
        ) from None
