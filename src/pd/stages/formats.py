"""Formats: the released images once more, as imagefolder, tar shards or DICOM, beside the Parquet of the release."""

from pd.release.formats.choose import WRITERS
from pd.release.formats.rows import kept_rows
from pd.stages.base import Facts
from pd.store.atomic import write_folder
from pd.store.context import Context


def execute(context: Context) -> Facts:
    run = context.run
    written = {}
    for name in context.settings.release.formats:
        if name in WRITERS and run.data.exists():  # else they are withheld, or not asked for
            with write_folder(run.release / name) as folder:
                WRITERS[name](kept_rows(run.data), folder)
                written[name] = sum(1 for _ in folder.iterdir())
    return {"files": written}
