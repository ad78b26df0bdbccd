"""Nodes knock at the driver's door; certificates are compared as Ray compares them."""

import socket
import subprocess
import threading
from pathlib import Path

import pytest
from terminal import ROOT

from pd.doctor.certificates import certificates, ours, route_to, theirs
from pd.doctor.door import door, knock_at, of_server

TOOL = str(ROOT / "cluster" / "node-cert.sh")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of certificates: `good` and `nameless` of one CA, `other` of another."""
    folder = tmp_path_factory.mktemp("tls")
    for words in (
        ("ca", "ca"),
        ("ca", "ca2"),
        ("node", "ca", "good", "127.0.0.1"),
        ("node", "ca2", "other", "127.0.0.1"),
        ("node", "ca", "nameless"),
    ):
        kind, *rest = words
        subprocess.run(
            [TOOL, kind, *(str(folder / word) if "." not in word else word for word in rest)], check=True, capture_output=True
        )
    return folder


def use(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "0" if folder is None else "1")
    if folder is not None:
        monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(folder / "tls.crt"))
        monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(folder / "tls.key"))
        monkeypatch.setenv("RAY_TLS_CA_CERT", str(folder / "ca.crt"))


def test_a_door_without_tls_opens_and_a_closed_port_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    with door("127.0.0.1") as (host, port):
        assert knock_at(host, port) == ""
        assert knock_at(host, port) == ""  # the next node
    assert "cannot be reached" in knock_at(host, port)


def test_the_certificate_at_the_door_must_name_the_address(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    use(monkeypatch, made / "good")
    with door("127.0.0.1") as (host, port):
        assert knock_at(host, port) == ""
        use(monkeypatch, made / "other")
        assert "another CA" in knock_at(host, port)
        use(monkeypatch, None)
        assert knock_at(host, port)
    use(monkeypatch, made / "good")
    with door("127.0.0.2") as (host, port):
        assert knock_at(host, port) == "the certificate does not name 127.0.0.2"


def test_our_own_certificate_is_looked_at_as_nodes_will(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    use(monkeypatch, made / "good")
    assert ours("127.0.0.1").state == "ok"
    wrong = ours("10.1.2.3")
    assert (wrong.state, wrong.says) == ("todo", "the certificate does not name 10.1.2.3")
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(made / "other" / "ca.crt"))
    assert ours("127.0.0.1").says == "the certificate is of another CA"
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(made / "good" / "ca.crt"))
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(made / "other" / "tls.key"))  # of another certificate
    assert ours("127.0.0.1").state == "todo"


def test_the_heads_certificate(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    use(monkeypatch, made / "good")
    context = of_server()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            for _ in range(2):
                guest, _ = server.accept()
                try:
                    context.wrap_socket(guest, server_side=True).close()
                except OSError:
                    guest.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert theirs("127.0.0.1", port).state == "ok"
        found = theirs("localhost.localdomain.invalid", port)
        assert found.state == "todo"  # nobody has this name
        use(monkeypatch, made / "other")
        assert theirs("127.0.0.1", port).says == "the certificate is of another CA"
        thread.join(5)


def test_tls_without_its_files_is_told(monkeypatch: pytest.MonkeyPatch, made: Path) -> None:
    use(monkeypatch, None)
    assert [one.state for one in certificates("127.0.0.1", 1)] == ["left out"]
    use(monkeypatch, made / "good")
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(made / "none"))
    (found,) = certificates("127.0.0.1", 1)
    assert found.says.startswith("RAY_TLS_SERVER_KEY")
    assert route_to("127.0.0.1") == "127.0.0.1"
