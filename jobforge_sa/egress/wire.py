"""The connection below httpcore: to a judged address only, every wait within one deadline, every byte counted."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import Any, TypeAlias

import httpcore

from jobforge_sa.egress.address import Address, read, refusal
from jobforge_sa.egress.deadline import Deadline
from jobforge_sa.egress.lookup import check, log
from jobforge_sa.egress.policy import Egress
from jobforge_sa.egress.target import Target
from jobforge_sa.errors import BadAnswer, Unreachable

Connect: TypeAlias = Callable[[str, int, float], socket.socket]

MOST_TRIED = 4  # of a name's addresses
HEAD_BYTES = 64 * 1024  # an answer's status and headers, with all 1xx before it
FRAMING = 8  # bytes of the wire for one of the body: a chunk of one byte has six


def direct(address: str, port: int, seconds: float) -> socket.socket:
    """A connection to an address. Nothing is looked up: not `create_connection`, which would take a name as well.

    Raises:
        OSError: it cannot be made, or not in time.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect((address, port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except BaseException:
        connection.close()
        raise
    return connection


class Stream(httpcore.NetworkStream):
    """A socket whose every wait ends with the request's deadline, and which reads no more than it may."""

    def __init__(self, connection: socket.socket, deadline: Deadline, room: int) -> None:
        self._socket = connection
        self._deadline = deadline
        self._room = room  # bytes that may still come

    def allow(self, count: int) -> None:
        """Read so many bytes, from now on."""
        self._room = count

    def read(self, max_bytes: int, *_: Any, **_timeout: Any) -> bytes:
        """Some bytes, none at the end."""
        if self._room <= 0:
            raise BadAnswer("more came than an answer may have around its body", sent=True)
        self._socket.settimeout(self._deadline.left())
        try:
            found = self._socket.recv(max_bytes)
        except TimeoutError:
            raise self._deadline.over() from None
        except OSError as error:
            raise Unreachable(f"the connection broke: {error}", sent=self._deadline.sent) from error
        self._room -= len(found)
        return found

    def write(self, buffer: bytes, *_: Any, **_timeout: Any) -> None:
        """All of the bytes."""
        rest = memoryview(buffer)
        while rest:
            self._socket.settimeout(self._deadline.left())
            self._deadline.sent = True  # whatever send() says: bytes may have left before it failed
            try:
                rest = rest[self._socket.send(rest) :]
            except TimeoutError:
                raise self._deadline.over() from None
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error  # httpcore still reads: a 413 may be there already

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, *_: Any, **_timeout: Any
    ) -> Stream:
        """TLS with the name of the URL, whatever address it led to. Its handshake is one wait: no drip prolongs it."""
        try:
            self._socket.settimeout(self._deadline.left())
            inner = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except TimeoutError:
            self.close()
            raise self._deadline.over() from None
        except (OSError, ValueError) as error:
            self.close()
            raise Unreachable(f"no TLS with {server_hostname}: {_said(error)}", sent=False) from error
        return Stream(inner, self._deadline, self._room)

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for."""
        return {"socket": self._socket, "is_readable": False}.get(info)


class Wire(httpcore.NetworkBackend):
    """Connects to the addresses that were judged, and to nothing that httpcore names."""

    def __init__(
        self, target: Target, addresses: Sequence[Address], policy: Egress, deadline: Deadline, connect: Connect
    ) -> None:
        self._target, self._addresses, self._policy = target, addresses[:MOST_TRIED], policy
        self._deadline, self._connect = deadline, connect

    def connect_tcp(self, *_: Any, **_named: Any) -> Stream:
        """A connection to the first of the addresses that takes one; each has its share of the time."""
        failures: list[str] = []
        for place, address in enumerate(self._addresses):
            seconds = self._deadline.left() / (len(self._addresses) - place)
            try:
                connection = self._connect(str(address), self._target.port, seconds)
            except TimeoutError:
                failures.append(self._told(address, f"no answer within {seconds:.3g} s"))
            except OSError as error:
                failures.append(self._told(address, error.strerror or str(error)))
            else:
                return self._judged(connection)
        self._deadline.left()
        raise Unreachable(f"nobody answers at {self._target}: {'; '.join(failures)}", sent=False)

    def _told(self, address: Address, why: str) -> str:
        """A failure for the tenant: that of an inside which the operator has opened without its address."""
        log.info("%s leads to %s: %s", self._target.host, address, why)
        return f"{address}: {why}" if refusal(address) is None or self._target.address else why

    def connect_unix_socket(self, *_: Any, **_named: Any) -> httpcore.NetworkStream:
        """Never."""
        raise Unreachable("a request goes to no local socket", sent=False)

    def _judged(self, connection: socket.socket) -> Stream:
        """Look once more at who is there: a connector may be somebody else's."""
        try:
            peer = connection.getpeername()[0]
            check(_plain(read(peer.partition("%")[0])), self._target, self._policy)
        except OSError as error:  # it was closed again before we asked
            connection.close()
            raise Unreachable(f"nobody answers at {self._target}: {error}", sent=False) from error
        except BaseException:
            connection.close()
            raise
        return Stream(connection, self._deadline, HEAD_BYTES)


def _plain(address: Address) -> Address:
    """A socket of both families shows an IPv4 peer as a mapped address."""
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "reason", None) or str(error)
