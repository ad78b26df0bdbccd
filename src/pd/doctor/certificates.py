"""TLS between this process and a cluster: the cluster's certificate and our own, each as the other side sees it."""

import os
import socket
import ssl
from pathlib import Path

from pd.doctor.door import WAIT_S, in_words, of_client, of_server, with_tls
from pd.doctor.finding import Finding, left_out, ok, todo

FIX = "`cluster/node-cert.sh node CA OUT NAME ADDRESS` makes one that names them; start Ray anew with it"
_OTHER_CA = "set RAY_TLS_CA_CERT, RAY_TLS_SERVER_CERT and RAY_TLS_SERVER_KEY to files of the cluster's own CA"
_FILES = ("RAY_TLS_SERVER_CERT", "RAY_TLS_SERVER_KEY", "RAY_TLS_CA_CERT")


def route_to(host: str, port: int = 9) -> str:
    """The address of ours by which packets leave for a host: the one where it finds us. Nothing is sent."""
    kind, _, _, _, there = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(kind, socket.SOCK_DGRAM) as route:
        route.connect(there)
        return str(route.getsockname()[0])


def certificates(host: str, port: int) -> list[Finding]:
    """The cluster's head as we see it, and our own certificate as its nodes will see it."""
    if not with_tls():
        return [left_out("certificate", "RAY_USE_TLS is not set here: without TLS let nobody else be on the network")]
    missing = [name for name in _FILES if not Path(os.environ.get(name, "")).is_file()]
    if missing:
        return [todo("certificate", f"{' and '.join(missing)} name no file", "set all three as on the cluster's nodes")]
    return [theirs(host, port), ours(route_to(host))]


def theirs(host: str, port: int) -> Finding:
    """Whether the head's certificate is of our CA, in date, and names the address that we use."""
    context = of_client()
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((host, port), timeout=WAIT_S) as plain,
            context.wrap_socket(plain, server_hostname=host),
        ):
            return ok("certificate of the head", f"of our CA, and names {host}")
    except OSError as error:
        return _refused("certificate of the head", in_words(error, host))


def ours(address: str) -> Finding:
    """Whether our own certificate, key and CA fit each other, are in date, and name the address where nodes find us.

    Both ends of a TLS connection are played in memory.
    """
    what = "certificate of this machine"
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        ends = [
            of_client().wrap_bio(to_client, to_server, server_hostname=address),
            of_server().wrap_bio(to_server, to_client, server_side=True),
        ]
        for _ in range(4):  # flights of a handshake
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    continue
    except OSError as error:
        return _refused(what, in_words(error, address))
    return ok(what, f"of the same CA, and names {address}")


def _refused(check: str, says: str) -> Finding:
    return todo(check, says, _OTHER_CA if "another CA" in says else FIX)
