"""An S3 server of its own process, for tests: moto's, on a free port of this machine."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from pyarrow import fs

BUCKET = "theirs"


class Server:
    """A running server with one bucket, and the environment that leads `pd` to it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "example-secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self.s3 = fs.S3FileSystem(
            access_key="AKIAEXAMPLE", secret_key="example-secret", endpoint_override=self.url, allow_bucket_creation=True
        )
        self.s3.create_dir(BUCKET)

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
            aws_access_key_id="AKIAEXAMPLE",
            aws_secret_access_key="example-secret",
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
def s3_server() -> Iterator[Server]:
    """Start the server, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield Server(port)
    finally:
        process.terminate()
        process.wait(10)
