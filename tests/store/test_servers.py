"""Servers that are not Amazon's, and a network that errs: what is in the bucket is right, or one line says what is wrong."""

import contextlib
import http.client
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bucket import BUCKET, Server, s3_server
from faulty_proxy import faulty_proxy
from refusals import refused_as

from pd.config.mirrored import PLAIN_UPLOADS
from pd.errors import UserError
from pd.store.mirror import pull, push
from pd.store.places import Place

KEYS = 1030  # more than one page of a listing


def place(path: Path) -> Place:
    return Place.parse(f"s3://{BUCKET}/{path.name}")


def test_uploads_are_such_as_old_servers_take(s3: Server, tmp_path: Path) -> None:
    """In a process that nobody has told how to upload; MinIO's answer to the SDK's own way is HTTP 411."""
    environment = {name: value for name, value in os.environ.items() if name not in PLAIN_UPLOADS} | s3.environment
    (tmp_path / "large").write_bytes(os.urandom(12 * 2**20))  # in parts
    command = f"""
from pathlib import Path
from pd.store.places import Place
place = Place.parse("s3://{BUCKET}/{tmp_path.name}")
place.write("small", b"s")
place.upload("large", Path({str(tmp_path / "large")!r}))
assert place.read("small") == b"s" and place.read("large") == Path({str(tmp_path / "large")!r}).read_bytes()
"""
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_more_than_a_thousand_keys(s3: Server, machine: object, tmp_path: Path) -> None:
    there = place(tmp_path)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: there.write(f"many/{number:04d}", b"1"), range(KEYS)))
    assert {file.name for file in there.objects("many")} == {f"many/{number:04d}" for number in range(KEYS)}


def test_a_server_that_asks_to_slow_down_is_asked_again(s3: Server, machine: object, tmp_path: Path) -> None:
    with faulty_proxy(s3.url, lambda number, _: "503" if number % 3 == 0 else "") as (url, struck), pointed_at(url):
        there = place(tmp_path)
        for number in range(6):
            there.write(f"{number}", b"x" * number)
        assert [there.read(f"{number}") for number in range(6)] == [b"x" * number for number in range(6)]
    assert struck[0] >= 4


@pytest.mark.exhaustive
def test_one_that_stays_busy_is_one_line(s3: Server, machine: object, tmp_path: Path) -> None:
    with (
        faulty_proxy(s3.url, lambda *_: "503") as (url, _),
        pointed_at(url),
        refused_as("storage-failed"),
    ):
        place(tmp_path).write("x", b"x")


def test_a_clock_that_is_off_is_named(s3: Server, machine: object, tmp_path: Path) -> None:
    with (
        faulty_proxy(s3.url, lambda *_: "skew") as (url, _),
        pointed_at(url),
        refused_as("storage-failed"),
    ):
        place(tmp_path).write("x", b"x")


def test_a_part_that_is_lost_is_sent_again_or_the_object_is_not_there(s3: Server, machine, tmp_path: Path) -> None:
    """The first answers to parts never come; and one part is answered for though it never arrived."""
    folder = machine("a") / "private" / "teacher"
    folder.mkdir(parents=True)
    data = os.urandom(25 * 2**20)
    (folder / "weights").write_bytes(data)
    lost = iter(["drop", "drop", ""])

    def drop(number: int, path: str) -> str:
        return next(lost, "") if "partNumber=" in path else ""

    with faulty_proxy(s3.url, drop) as (url, struck), pointed_at(url):
        push(folder)
    assert struck[0] == 2
    pull(machine("b") / "private" / "teacher")
    assert (machine("b") / "private" / "teacher" / "weights").read_bytes() == data

    second = machine("a") / "private" / "student"
    second.mkdir(parents=True)
    (second / "weights").write_bytes(data)
    with (
        faulty_proxy(s3.url, lambda _, path: "swallow" if "partNumber=2" in path else "") as (url, struck),
        pointed_at(url),
        pytest.raises(UserError),
    ):
        push(second)
    assert struck[0]
    pull(machine("b") / "private" / "student")
    assert not (machine("b") / "private" / "student" / "weights").exists()
    push(machine("a") / "private" / "student")
    pull(machine("b") / "private" / "student")
    assert (machine("b") / "private" / "student" / "weights").read_bytes() == data


@pytest.mark.exhaustive
def test_a_server_that_is_killed_and_started_again_has_lost_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`kill -9` while files are sent, again and again: after the last push all of it is there, and right."""
    with s3_server("juicefs") as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        from pd.config.mirrored import mirrored

        monkeypatch.setenv("PD_MIRROR", str(tmp_path / "a"))
        folder = mirrored(f"s3://{BUCKET}/killed") / "faces" / "generated"
        folder.mkdir(parents=True)
        content = {f"{number:02d}": os.urandom(200_000) for number in range(24)}
        for name, data in content.items():
            (folder / name).write_bytes(data)
        for after in (0.15, 0.4, 0.8):
            timer = threading.Timer(after, server.process.kill)
            timer.start()
            with contextlib.suppress(UserError):
                push(folder)
            timer.join()
            server.process.kill()
            server.process.wait()
            server.start()
        push(folder)
        monkeypatch.setenv("PD_MIRROR", str(tmp_path / "b"))
        there = mirrored(f"s3://{BUCKET}/killed") / "faces" / "generated"
        pull(there)
        assert {path.name: path.read_bytes() for path in there.iterdir() if not path.name.startswith(".")} == content


@contextlib.contextmanager
def pointed_at(url: str):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        yield


def test_the_proxy_passes_on_what_it_does_not_spoil(s3: Server, tmp_path: Path) -> None:
    with faulty_proxy(s3.url, lambda *_: "") as (url, struck):
        asked = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
        asked.request("GET", f"/{BUCKET}/none-such")
        assert asked.getresponse().status in (403, 404)
    assert struck[0] == 0
