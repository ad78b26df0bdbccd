"""From settings to a source of rows."""

from pd.config import DataSettings
from pd.dataset.readers.faces import faces
from pd.dataset.readers.folder import folder
from pd.dataset.readers.manifest import manifest
from pd.dataset.readers.source import Source
from pd.errors import UserError


def open_source(settings: DataSettings) -> Source:
    """The source that `data.reader` and `data.path` name.

    Raises:
        UserError: the path is missing, wrong, or given where none is read.
    """
    if settings.reader == "faces":
        if settings.path is not None:
            raise UserError(
                f"'{settings.path}' would not be read: data.reader is faces",
                where="data.path",
                fix="set data.reader to folder or manifest",
            )
        return faces()
    if settings.path is None:
        raise UserError(f"data.reader is {settings.reader}, but no path is set", where="data.path", fix="set data.path")
    return folder(settings.path) if settings.reader == "folder" else manifest(settings.path)
