"""What images are called in their source, which a data set does not hold: paths are often names of people."""

from collections.abc import Sequence

from pd.config import DataSettings
from pd.dataset.decode import BadImage, load
from pd.dataset.decoding import id_of
from pd.dataset.readers.bucket import fetched
from pd.dataset.readers.choose import open_source
from pd.dataset.readers.normal import normal
from pd.dataset.readers.source import Row


def source_names(settings: DataSettings, ids: Sequence[str]) -> list[str | None]:
    """The path of each image in its source, or `row N` where it has none, in the order of the ids; None: not there.

    The source is listed again. Images that lie in a table are read again, too, for their ids are made of their bytes.

    Args:
        settings: as the data set was made from.
        ids: of its images.
    """
    wanted, found = set(ids), dict[str, str]()
    with fetched(settings) as here:
        for row in normal(open_source(here)).rows():
            if not isinstance(row, Row):
                continue
            try:
                name = id_of(row, load(row.data, here) if row.key is None else b"")
            except BadImage:
                continue
            if name in wanted:
                found[name] = row.key or row.name
    return [found.get(name) for name in ids]
