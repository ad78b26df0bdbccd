"""Whether nodes can reach this process: it listens for a moment, with Ray's own certificate, and each node knocks."""

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator

WAIT_S = 5.0
WORD = b"pd"


def with_tls() -> bool:
    """Whether Ray has been asked for TLS, in the words that Ray itself takes."""
    return os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true")


def of_server() -> ssl.SSLContext:
    """This process as the one that is reached. As Ray does, it wants a certificate of who comes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.environ["RAY_TLS_SERVER_CERT"], os.environ["RAY_TLS_SERVER_KEY"])
    context.load_verify_locations(os.environ["RAY_TLS_CA_CERT"])
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def of_client() -> ssl.SSLContext:
    """This process as the one that comes: the other's certificate must be of our CA, in date, and name the other."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(os.environ["RAY_TLS_SERVER_CERT"], os.environ["RAY_TLS_SERVER_KEY"])
    context.load_verify_locations(os.environ["RAY_TLS_CA_CERT"])
    return context


@contextlib.contextmanager
def door(host: str) -> Iterator[tuple[str, int]]:
    """Listen on a free port of one of this machine's addresses; yields address and port for `knock_at`."""
    context = of_server() if with_tls() else None

    def answer(guest: socket.socket) -> None:
        with contextlib.suppress(OSError), guest:
            guest.settimeout(WAIT_S)
            if context is None:
                guest.sendall(WORD)
            else:
                with context.wrap_socket(guest, server_side=True) as safe:
                    safe.sendall(WORD)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    server = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    threading.Thread(target=serve, daemon=True).start()
    try:
        yield host, server.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()


def knock_at(host: str, port: int) -> str:
    """Why a door does not open; empty where it does.

    The port is another than those that Ray will use: a firewall that admits some ports alone may tell them apart.
    """
    try:
        with socket.create_connection((host, port), timeout=WAIT_S) as plain:
            plain.settimeout(WAIT_S)
            if not with_tls():
                return "" if plain.recv(len(WORD)) == WORD else "something else answers there"
            with of_client().wrap_socket(plain, server_hostname=host) as safe:
                return "" if safe.recv(len(WORD)) == WORD else "something else answers there"
    except OSError as error:
        return in_words(error, host)


def in_words(error: OSError, host: str) -> str:
    """What a refused connection means: codes of OpenSSL's X509_verify_cert_error_string, and of the system."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (62, 64):
            return f"the certificate does not name {host}"
        if error.verify_code in (9, 10):
            return "the certificate is out of date, or a clock is wrong"
        if error.verify_code in (2, 18, 19, 20, 21):
            return "the certificate is of another CA"
        return f"the certificate is refused ({error.verify_message})"
    if isinstance(error, ssl.SSLError):
        return f"no TLS with it ({error.reason or type(error).__name__})"
    if isinstance(error, TimeoutError):
        return f"{host} does not answer"
    return f"{host} cannot be reached ({error.strerror or type(error).__name__})"
