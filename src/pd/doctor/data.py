"""Whether the private images can be read: some of them are, as `pd ingest` will."""

from collections import Counter
from itertools import islice

from pd.config import DataSettings
from pd.config.mirrored import as_written
from pd.dataset.decoding import decoded_rows
from pd.dataset.readers.choose import open_source
from pd.dataset.readers.normal import normal
from pd.dataset.readers.source import BadRow
from pd.doctor.finding import Finding, ok, todo
from pd.engine.shared_folder import in_bucket
from pd.store.places import Place

MOST = 64  # images that are decoded


def data(settings: DataSettings) -> list[Finding]:
    """Open the source and decode some of its images, spread over all of it where they are files.

    No file is named: a path often holds a person's name. Of images in a bucket the list and one object are read.

    Raises:
        UserError: the source cannot be read.
    """
    if settings.path is not None and in_bucket(settings.path):
        return [_remote(as_written(settings.path))]
    source = normal(open_source(settings))
    step = 1 if source.embedded else max(1, source.total // MOST)
    looked, people, bad = 0, set(), Counter[str]()
    for item in decoded_rows(islice(source.rows(), 0, MOST * step, step), settings):
        looked += 1
        if isinstance(item, BadRow):
            bad[item.reason] += 1
        else:
            people.add(item.row.identity)
    if not looked:
        return [todo("data", "no image was found", "check data.path and data.reader")]
    if bad:
        words = ", ".join(f"{reason} {count}" for reason, count in sorted(bad.items()))
        fix = "`pd ingest` names the first; mend them, or set data.on_bad_image to skip"
        return [todo("data", f"of {looked} of {source.total} images {sum(bad.values())} cannot be used ({words})", fix)]
    found = [ok("data", f"{source.total} images are listed; {looked} of them, of {len(people)} people, were read")]
    if len(people) == 1 and looked > 1:
        fix = "data.identity_from or the column `identity` says who is who"
        return [todo("data", f"all of {looked} images that were read show one person", fix)]
    return found


def _remote(text: str) -> Finding:
    place = Place.parse(text)
    files = place.files()
    if not files:
        return todo("data", f"{text}: nothing lies there", "check data.path")
    with place.open(files[0].name) as file:
        file.read(1024)
    return ok("data", f"{len(files)} objects are listed, and one was read")
