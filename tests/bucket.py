"""S3 servers of their own processes, for tests, on free ports of this machine.

Two of unlike makers: moto's, which answers as Amazon's does, and the MinIO inside of `juicefs gateway`, over SQLite and a
folder, which knows no uploads with trailing checksums.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from pyarrow import fs

from pd.config.mirrored import PLAIN_UPLOADS

BUCKET = "theirs"
KINDS = ("moto", "juicefs")
_KEY, _SECRET = "AKIAEXAMPLE", "example-secret"


class Server:
    """A running server with one bucket, and the environment that leads `pd` to it.

    Attributes:
        kind: one of KINDS.
        process: the server; who kills it starts it again by `start`.
    """

    def __init__(self, port: int, kind: str, folder: Path) -> None:
        self.kind, self._port, self._folder = kind, port, folder
        self.process = self.start()
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.s3 = fs.S3FileSystem(access_key=_KEY, secret_key=_SECRET, endpoint_override=self.url, allow_bucket_creation=True)
        self.s3.create_dir(BUCKET)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process, also once more after its end: what juicefs holds it still has, moto has forgotten it."""
        beside = Path(sys.executable)
        if self.kind == "moto":
            command = [str(beside.with_name("moto_server")), "-H", "127.0.0.1", "-p", str(self._port)]
        else:
            juicefs, meta = str(beside.with_name("juicefs")), f"sqlite3://{self._folder}/meta.db"
            if not (self._folder / "meta.db").exists():
                words = [juicefs, "format", "--storage", "file", "--bucket", f"{self._folder}/data/", meta, "private"]
                subprocess.run(words, check=True, capture_output=True)
            cache = ["--cache-dir", f"{self._folder}/cache", "--no-usage-report"]
            command = [juicefs, "gateway", "--multi-buckets", *cache, meta, f"127.0.0.1:{self._port}"]
        environment = {**os.environ, "MINIO_ROOT_USER": _KEY, "MINIO_ROOT_PASSWORD": _SECRET}
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 1):
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        self.process = process
        return process

    def upload(self, folder: Path) -> None:
        """Put a folder into the bucket, under its own name."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{folder.name}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def put(self, key: str, data: bytes) -> None:
        """Put one object."""
        with self.s3.open_output_stream(f"{BUCKET}/{key}") as out:
            out.write(data)

    def put_as_named(self, key: str, data: bytes) -> None:
        """Put one object under any name that S3 takes."""
        self._client().put_object(Bucket=BUCKET, Key=key, Body=data)

    def delete_as_named(self, key: str) -> None:
        self._client().delete_object(Bucket=BUCKET, Key=key)

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            region_name="us-east-1",
        )

    def refuse(self, refuse: bool) -> None:
        """Refuse unknown access keys from now on, or nobody."""
        many = b"0" if refuse else b"1000000"  # requests that are answered unasked
        kind = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", many, kind, method="POST")
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30):
            pass


@contextlib.contextmanager
def s3_server(kind: str = "moto") -> Iterator[Server]:
    """Start a server, and stop it."""
    for name, value in PLAIN_UPLOADS.items():  # the tests' own client, as pd's
        os.environ.setdefault(name, value)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="pd-s3-"))
    server = None
    try:
        server = Server(port, kind, folder)
        yield server
    finally:
        if server is not None:
            server.process.terminate()
            server.process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)
