"""A release sent to a hub: a server in a process of its own that speaks as much of the hub's protocol as an upload needs."""

import base64
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from pd.dataset.synthetic import SyntheticDataset
from pd.errors import LeakError, UserError
from pd.release.checks import Check, VerifyReport
from pd.stages import push
from pd.stages.push import push_release

SERVER = textwrap.dedent("""
    import json, sys
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Hub(BaseHTTPRequestHandler):
        def do_POST(self):
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while (size := int(self.rfile.readline(), 16)):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            print(json.dumps({"path": self.path, "body": body.decode()}), file=sys.stderr, flush=True)
            if self.path == "/api/repos/create":
                self.answer({"url": self.here()})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
            elif "/commit/" in self.path:
                self.answer({"commitUrl": self.here() + "/commit/1", "commitOid": "1" * 40, "success": True})
            else:
                self.answer({})

        def do_GET(self):
            self.answer({"id": "owner/name", "sha": "0" * 40, "siblings": []})

        def here(self):
            return f"http://{self.headers['Host']}/datasets/owner/name"

        def answer(self, value):
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *words):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    print(server.server_port, flush=True)
    server.serve_forever()
""")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    with (tmp_path / "asked").open("w") as asked:
        process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=asked, text=True)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{process.stdout.readline().strip()}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    yield lambda: [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines() if line.startswith('{"path"')]
    process.terminate()
    process.wait()


@pytest.fixture
def run(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 1), dtype=np.uint8)
    SyntheticDataset(["a", "b", "c"], images, ["x"] * 3, {}).write(tmp_path / "run" / "release" / "data")
    (tmp_path / "run" / "private" / "dataset").mkdir(parents=True)
    return tmp_path / "run"


def proven(monkeypatch, *marks):
    checks = [Check(f"check {n}", mark, "") for n, mark in enumerate(marks)]
    monkeypatch.setattr(push, "check_release", lambda release, against, k: VerifyReport(checks))


def send(run, agree=lambda text: True, to="owner/name", **more):
    return push_release(run / "release", to, "dataset", more.get("against"), 3, private=True, agree=agree)


def test_what_was_proven_is_sent(hub, run, monkeypatch):
    proven(monkeypatch, True)
    words = []
    assert send(run, lambda text: words.append(text) or True).endswith("/datasets/owner/name/commit/1")
    assert "Send 1 files" in words[0]
    asked = hub()
    (made,) = [json.loads(one["body"]) for one in asked if one["path"] == "/api/repos/create"]
    assert (made["name"], made["type"]) == ("name", "dataset")
    assert made.get("private") or made.get("visibility") == "private"
    (commit,) = [one["body"] for one in asked if "/commit/" in one["path"]]
    files = [json.loads(line)["value"] for line in commit.splitlines() if '"file"' in line]
    assert [file["path"] for file in files] == ["data/part-00000.parquet"]
    assert base64.b64decode(files[0]["content"]) == (run / "release" / "data" / "part-00000.parquet").read_bytes()


def test_nothing_is_sent_without_a_yes_or_a_proof(hub, run, monkeypatch):
    proven(monkeypatch, True)
    assert send(run, lambda text: False) is None
    proven(monkeypatch, True, False)
    with pytest.raises(LeakError, match="check 1"):
        send(run)
    proven(monkeypatch, True, None)
    with pytest.raises(UserError, match="1 checks could not be made"):
        send(run)
    with pytest.raises(UserError, match="no owner and name"):
        send(run, to="name")
    (run / "private" / "dataset").rmdir()
    with pytest.raises(UserError, match="add --against"):
        send(run)
    assert hub() == []
