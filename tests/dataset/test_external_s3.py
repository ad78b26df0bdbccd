"""Other people's images in a bucket: what a real server gives is what the same files give on this machine."""

import io
import pickle
import socket
import tarfile
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bucket import BUCKET, s3_server
from PIL import Image
from refusals import refused_as

from pd.config import DataSettings
from pd.dataset.decode import BadImage
from pd.dataset.external import fingerprint, list_images, read_images
from pd.errors import UserError
from pd.store.places import Place

SETTINGS = DataSettings(size=16, on_bad_image="skip")


def _png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(value).integers(0, 256, (20, 20), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with a folder of each kind."""
    root = tmp_path_factory.mktemp("theirs") / "up"
    for name in ("b/two.png", "a#1.png", "a/z ü.png", "c.jpg", "b/deep/3.png", ".hidden/x.png", "b/.x.png"):
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_png(len(name)))
    (root / "images" / "notes.txt").write_text("no image")
    (root / "images" / "bad.png").write_bytes(b"hello")
    (root / "mixed").mkdir()
    pq.write_table(pa.table({"image": [_png(row) for row in range(7)]}), root / "mixed" / "s.parquet", row_group_size=3)
    with tarfile.open(root / "mixed" / "t.tar", "w") as tar:
        for row in range(12):
            for suffix, data in (("png", _png(20 + row)), ("txt", b"a caption")):
                info = tarfile.TarInfo(f"{row:03d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    (root / "broken").mkdir()
    (root / "broken" / "b.parquet").write_bytes(b"no parquet at all")
    (root / "empty").mkdir()
    (root / "empty" / "notes.txt").write_text("no image")
    return root


@pytest.fixture(scope="module")
def server(here):
    with s3_server() as running:
        running.upload(here)
        yield running


@pytest.fixture(autouse=True)
def environment(server, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


def _read(place, images, settings=SETTINGS):
    return [
        (name, image.reason if isinstance(image, BadImage) else image.tobytes())
        for name, image in read_images(place, images, settings)
    ]


@pytest.mark.parametrize("source", ["images", "images/", "mixed", "mixed/s.parquet", "mixed/t.tar"])
def test_a_bucket_gives_what_a_folder_gives(here, source):
    local, remote = Place.parse(f"{here}/{source}"), Place.parse(f"s3://{BUCKET}/up/{source}")
    images = list_images(remote)
    assert images.names == list_images(local).names
    assert len(images) == {"images": 6, "mixed": 19, "s.parquet": 7, "t.tar": 12}[source.strip("/").rpartition("/")[2]]
    found = _read(remote, images)
    assert found == _read(local, list_images(local))
    some = [row for row in range(len(images)) if row % 3]
    assert _read(pickle.loads(pickle.dumps(remote)), images.take(some)) == [found[row] for row in some]


def test_a_bad_image_stops_with_its_address():
    place = Place.parse(f"s3://{BUCKET}/up/images")
    with refused_as("bad-image", f"s3://{BUCKET}/up/images/bad.png"):
        _read(place, list_images(place), DataSettings(size=16))


def test_only_what_is_asked_for_is_read(monkeypatch):
    place = Place.parse(f"s3://{BUCKET}/up/mixed")
    images, reads = list_images(place), []
    real = Place.open

    class Watched:
        def __init__(self, file):
            self.file = file

        def read_at(self, length, begin):
            reads.append((begin, length))
            return self.file.read_at(length, begin)

    @contextmanager
    def watched(self, name):
        with real(self, name) as file:
            yield Watched(file)

    monkeypatch.setattr(Place, "open", watched)
    rows = [len(images) - 2]
    assert len(_read(place, images.take(rows))) == 1
    assert reads == [(images.begins[rows[0]], images.lengths[rows[0]])]


def test_fingerprint_follows_the_objects(server, here):
    place = Place.parse(f"s3://{BUCKET}/changing")
    server.put("changing/a.png", _png(1))
    before = fingerprint(place, list_images(place))
    assert before == fingerprint(Place.parse(str(place)), list_images(place))
    server.put("changing/b.png", _png(1))
    more = fingerprint(place, list_images(place))
    server.put("changing/b.png", _png(1) + b" ")
    assert len({before, more, fingerprint(place, list_images(place))}) == 3


def test_an_object_that_is_gone_or_too_large_is_a_bad_image(server):
    place = Place.parse(f"s3://{BUCKET}/bad")
    server.put("bad/a.png", _png(1))
    server.put("bad/b.png", b"\x89PNG" + bytes(17 << 20))
    images = list_images(place)
    server.s3.delete_file(f"{BUCKET}/bad/a.png")
    found = _read(place, images, SETTINGS.model_copy(update={"max_pixels": 1000}))
    assert found == [("a.png", "missing"), ("b.png", "too large")]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://nobody-s/up", "no such bucket"),
        (f"s3://{BUCKET}/nowhere", "no such object or prefix"),
        (f"s3://{BUCKET}/up/empty", "no image here"),
        (f"s3://{BUCKET}/up/images/notes.txt", "neither a folder"),
        (f"s3://{BUCKET}/up/broken", "not readable as Parquet"),
        (f"s3://{BUCKET}/../up", "no bucket and prefix"),
        ("s3://", "no bucket and prefix"),
        ("https://host/x", "neither a local path nor s3"),
    ],
)
def test_bad_places_are_one_line(url, says):
    with pytest.raises(UserError, match=says) as error:
        list_images(Place.parse(url))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    ["s3://key:hush@b/x", "s3://key:hu/hush@b/x", "s3://hush@b", "s3://b/x?access_key=a&secret_key=hush", "gs://a:hush@b"],
)
def test_credentials_in_a_url_are_refused_and_not_repeated(url):
    with refused_as("bad-address", "URL") as error:
        Place.parse(url)
    assert "hush" not in str(error.value)


def test_no_permission(server):
    server.refuse(True)
    try:
        with refused_as("storage-failed") as error:
            list_images(Place.parse(f"s3://{BUCKET}/up/images"))
    finally:
        server.refuse(False)
    assert "AKIAEXAMPLE" not in str(error.value)


@pytest.mark.exhaustive
def test_a_server_that_goes_away_stops_the_reading(server, monkeypatch):
    place = Place.parse(f"s3://{BUCKET}/up/images")
    images = list_images(place)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with refused_as("storage-failed"):
            _read(place, images)  # not six missing images
        with refused_as("storage-failed"):
            list_images(Place.parse(str(place)))
