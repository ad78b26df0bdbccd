"""An HTTP server before a real one, which errs on purpose."""

import contextlib
import http.client
import http.server
import threading
import time
from collections.abc import Callable, Iterator

_HOPS = ("content-length", "connection", "transfer-encoding", "server", "date")
_ERRORS = {"500": (500, "InternalError"), "503": (503, "SlowDown"), "skew": (403, "RequestTimeTooSkewed")}


@contextlib.contextmanager
def faulty_proxy(upstream: str, fault: Callable[[int, str], str]) -> Iterator[tuple[str, list[int]]]:
    """Pass requests on, but for those of which `fault` has something to say.

    Args:
        upstream: the real server, `http://host:port`.
        fault: of the request's number (from 1) and its path: `500`, `503` (slow down), `skew` (the clock is off), `cut` (half
            of the answer), `wait SECONDS`, `drop` (no answer), `swallow` (an answer, though nothing is passed on), or nothing.

    Yields:
        its URL, and how often it erred.
    """
    host = upstream.removeprefix("http://")
    count, struck, lock = [0], [0], threading.Lock()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *words: object) -> None:
            pass

        def do_GET(self) -> None:
            with lock:
                count[0] += 1
                what = fault(count[0], self.path)
                struck[0] += bool(what)
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if what.startswith("wait"):
                time.sleep(float(what.split()[1]))
            if what == "drop":
                self.close_connection = True
                return
            if what == "swallow":
                self._answer(200, [("ETag", '"0123456789abcdef0123456789abcdef"')], b"", 0)
                return
            if what in _ERRORS:
                status, code = _ERRORS[what]
                body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
                shown = b"" if self.command == "HEAD" else body
                self._answer(status, [("Content-Type", "application/xml")], shown, len(body))
                return
            there = http.client.HTTPConnection(host, timeout=60)
            try:
                there.request(self.command, self.path, sent, dict(self.headers))
                answer = there.getresponse()
                body = answer.read()
            except OSError:  # the real one is away
                self.close_connection = True
                return
            size = len(body) if self.command != "HEAD" else int(answer.headers.get("Content-Length") or 0)
            kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _HOPS]
            self._answer(answer.status, kept, body[: len(body) // 2] if what == "cut" else body, size)
            if what == "cut":
                self.close_connection = True
            there.close()

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, length: int) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", struck
    finally:
        server.shutdown()
