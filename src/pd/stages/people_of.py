"""Who is in anybody's images: the column `identity` of Parquet, or whom a reader names."""

import pyarrow as pa
import pyarrow.parquet as pq

from pd.dataset.readable import Readable
from pd.errors import UserError

COLUMN = "identity"


def people_of(given: Readable) -> list[str] | None:
    """A name for each image; None where no file has the column, or a reader names nobody.

    Raises:
        UserError: some files have it and others not, or a name is missing.
    """
    if given.how is not None:
        return given.people()
    place, images = given.place, given.images
    files = sorted({name.partition(".parquet#")[0] + ".parquet" for name in images.names if ".parquet#" in name})
    if not files:
        return None
    columns: dict[str, list[str]] = {}
    for file in files:
        with place.open(file) as opened:
            parquet = pq.ParquetFile(opened)
            if COLUMN in parquet.schema_arrow.names:
                column = parquet.read(columns=[COLUMN])[COLUMN].cast(pa.string())
                if column.null_count:
                    raise UserError(
                        f"{column.null_count} images without a person", code="bad-row", where=file, fix="name everybody"
                    )
                columns[file] = column.to_pylist()
    if not columns:
        return None
    if len(columns) < len(files) or len(files) != len({name.partition(".parquet#")[0] for name in images.names}):
        raise UserError(
            f"some files have a column {COLUMN}, others not", code="bad-options", where=str(place), fix="give it to all of them"
        )
    return [columns[file + ".parquet"][int(row)] for file, _, row in (name.partition(".parquet#") for name in images.names)]
