"""Servers that behave badly, on loopback, in threads; and clients that can reach nothing else."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self, TypeAlias

import trustme

from jobforge_sa.egress import wire
from jobforge_sa.egress.client import Client
from jobforge_sa.egress.policy import Egress

Answer: TypeAlias = Callable[[socket.socket], None]

HOST = "hook.test"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Serving:
    """A server that calls `answer` with each connection, behind the request's head and body; or at once.

    Attributes:
        port: Its port.
        requests: The bytes that came, of each connection.
        quit: Set when the test is over: what drips looks at it.
    """

    def __init__(
        self,
        answer: bytes | Answer = OK,
        *,
        tls: ssl.SSLContext | None = None,
        listens: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        self.requests: list[bytes] = []
        self.quit = threading.Event()
        self._answer: Answer = answer if callable(answer) else lambda connection: connection.sendall(answer)
        self._tls, self._listens = tls, listens
        self._socket = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.port: int = self._socket.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self.quit.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self._threads)

    def drip(self, connection: socket.socket, text: bytes, pause: float = 0.02) -> None:
        """One byte after the other, from the start again, until nobody listens or the test is over."""
        while not self.quit.is_set():
            for number in range(len(text)):
                connection.sendall(text[number : number + 1])
                if self.quit.wait(pause):
                    return

    def _accept(self) -> None:
        while not self.quit.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with suppress(OSError), connection:
            if self._tls:
                with self._tls.wrap_socket(connection, server_side=True) as secure:
                    self._speak(secure)
            else:
                self._speak(connection)

    def _speak(self, connection: socket.socket) -> None:
        if self._listens:
            self.requests.append(_request(connection))
        else:
            self.requests.append(b"")
        self._answer(connection)


def _request(connection: socket.socket) -> bytes:
    """A request's head and as much of a body as its Content-Length says."""
    found = b""
    while b"\r\n\r\n" not in found:
        if not (more := connection.recv(65536)):
            return found
        found += more
    head, _, body = found.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (more := connection.recv(65536)):
        body += more
    return head + b"\r\n\r\n" + body


class Dialer:
    """Connects to loopback, whatever address it is given, and writes that down: no test leaves the machine."""

    def __init__(self, *, to: str | None = "127.0.0.1", port: int | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        self._to, self._port = to, port

    def __call__(self, address: str, port: int, seconds: float) -> socket.socket:
        self.asked.append((address, port))
        place = self._to or address
        assert place.startswith("127.") or place == "::1", f"a test would have reached {place}"
        return wire.direct(place, self._port or port, seconds)


class Names:
    """A resolver of one answer that counts."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.asked: list[str] = []

    def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.addresses


def client(
    server: Serving | int, *, tls: ssl.SSLContext | None = None, names: Names | None = None, **policy: Any
) -> Client:
    """A client for a server on loopback, which is opened for it."""
    port = server if isinstance(server, int) else server.port
    options: dict[str, Any] = {
        "schemes": ("https",) if tls else ("http",), "ports": (port,), "allow_networks": ("127.0.0.0/8", "::1/128"),
        "timeout": 5.0,
    }  # fmt: skip
    return Client(Egress(**options | policy), resolve=names or Names("127.0.0.1"), connect=Dialer(to=None), tls=tls)


def url(server: Serving | int, host: str = HOST, path: str = "/", scheme: str = "http") -> str:
    return f"{scheme}://{host}:{server if isinstance(server, int) else server.port}{path}"


class Authority:
    """An authority of the test's own, the servers' certificates by it, and who trusts it."""

    def __init__(self) -> None:
        self._made = trustme.CA()
        self.trusting = ssl.create_default_context()
        self._made.configure_trust(self.trusting)

    def server(self, *names: str, **options: Any) -> ssl.SSLContext:
        """A server's side, for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._made.issue_cert(*names, **options).configure_cert(context)
        return context


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
