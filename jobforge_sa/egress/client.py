"""Requests that are safe to make for somebody else: one lookup, one connection, one answer, no surprise in between.

>>> Client(Egress(allow_hosts=("*.example.com",))).send("GET", "https://api.example.com/status").status
200
"""

from __future__ import annotations

import logging
import re
import ssl
import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from jobforge_sa.egress import lookup, target
from jobforge_sa.egress.deadline import Deadline
from jobforge_sa.egress.headers import check as check_headers
from jobforge_sa.egress.policy import Egress
from jobforge_sa.egress.target import Target
from jobforge_sa.errors import BadAnswer, Blocked

try:
    import httpcore

    from jobforge_sa.egress.wire import FRAMING, HEAD_BYTES, Connect, Stream, Wire, direct
except ImportError as error:
    raise ImportError("httpcore is not installed; run: pip install 'jobforge_sa[connectors]'") from error

USER_AGENT = "jobforge"
_QUOTED = re.compile(r":?\s*(?:bytearray\()?\bb['\"]")  # as h11 quotes a line

_asking: ContextVar[bool] = ContextVar("jobforge_asking", default=False)  # this thread makes one of our requests


def _not_ours(_: logging.LogRecord) -> bool:
    return not _asking.get()


# At DEBUG httpcore writes down each answer's headers: cookies, and what a server says back. Others' requests it may.
for _name in ("httpcore.connection", "httpcore.http11"):
    logging.getLogger(_name).addFilter(_not_ours)


@dataclass(frozen=True, slots=True)
class Response:
    """What came back.

    Attributes:
        status: 200 to 999; a redirect is an answer like another: it is not followed.
        headers: Names and values as they came, in their order.
        body: At most `max_bytes` of it, as it came: an encoding that was not asked for is not undone.
        truncated: Whether more would have come.
        duration: Seconds, the lookup included.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    truncated: bool
    duration: float

    def header(self, name: str) -> str | None:
        """The first header of this name, in small letters or not."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


class Client:
    """Makes requests that a policy allows. Safe for threads; nothing is shared between two requests but the settings.

    Args:
        policy: What is allowed.
        resolve: A name's addresses, as texts: `resolve(host, port)`. Called once for a request with a name in its URL.
        connect: A connection to an address: `connect(address, port, seconds)`. Who is at its other end is judged again.
        tls: A context of your own, to trust an authority of yours. Default: the system's authorities, and certifi's.

    Example:
        >>> response = Client(Egress()).send("POST", url, {"Content-Type": "application/json"}, body)
    """

    def __init__(
        self, policy: Egress, *, resolve: lookup.Resolve = lookup.system, connect: Connect = direct,
        tls: ssl.SSLContext | None = None,
    ) -> None:  # fmt: skip
        self.policy = policy
        self._resolve = resolve
        self._connect = connect
        self._given_tls = tls
        self._party = ""

    def under(self, policy: Egress, party: str = "") -> Client:
        """The same under another policy, such as this one narrowed by the configuration of a tenant, the party."""
        other = Client(policy, resolve=self._resolve, connect=self._connect, tls=self._given_tls)
        other._party = party
        if self._given_tls is None and policy.schemes:
            other._given_tls = self._tls  # reading all authorities takes 20 ms
        return other

    def check(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Target:
        """All that can be said of a request before its name is looked up.

        Raises:
            Blocked: it must not leave.
        """
        if method not in self.policy.methods:
            allowed = ", ".join(self.policy.methods)
            _refuse(f"the method {method[:20]!r} is not allowed", f"use one of {allowed}, in capitals")
        check_headers(headers or {})
        if len(body) > self.policy.max_request_bytes:
            _refuse(f"the body has {len(body)} bytes", f"{self.policy.max_request_bytes} are allowed")
        where = target.parse(url)
        target.permit(where, self.policy)
        return where

    def send(
        self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"", *,
        timeout: float | None = None, max_bytes: int | None = None,
    ) -> Response:  # fmt: skip
        """Make one request. It follows no redirect, asks no proxy of the environment, and decodes nothing.

        Args:
            method: Such as "POST".
            url: All of it, as ASCII.
            headers: Beside Host, Content-Length, Connection and Accept-Encoding, which are set here.
            body: What is sent.
            timeout: Seconds for all of it; the policy's is the most.
            max_bytes: Of the answer's body; the policy's is the most.

        Raises:
            Blocked: it must not leave, and never will.
            Unreachable, RequestTimedOut, BadAnswer: it had no answer; `sent` says whether it may have been seen.
        """
        where = self.check(method, url, headers, body)
        started = time.monotonic()
        deadline = Deadline(min(timeout or self.policy.timeout, self.policy.timeout))
        most = self.policy.max_bytes if max_bytes is None else min(max_bytes, self.policy.max_bytes)
        addresses = lookup.judged(where, self.policy, self._resolve, deadline, self._party)
        wire = Wire(where, addresses, self.policy, deadline, self._connect)
        origin = httpcore.Origin(where.scheme.encode(), where.host.encode(), where.port)
        tls = self._tls if where.scheme == "https" else None
        connection = httpcore.HTTPConnection(origin, ssl_context=tls, network_backend=wire)
        asking = _asking.set(True)
        try:
            answer = connection.handle_request(_request(where, method, headers or {}, body))
            deadline.status = answer.status
            found, truncated = _read(answer, most)
        except (httpcore.ProtocolError, httpcore.NetworkError) as error:
            known = f" (its status is {deadline.status})" if deadline.status else ""
            raise BadAnswer(
                f"what {where} answers cannot be read{known}: {_unquoted(error)}", sent=deadline.sent
            ) from None
        finally:
            connection.close()
            _asking.reset(asking)
        return Response(answer.status, _texts(answer.headers), found, truncated, time.monotonic() - started)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        if self._given_tls is not None:
            return self._given_tls
        import certifi  # comes with httpcore

        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
        return context


def _request(where: Target, method: str, headers: Mapping[str, str], body: bytes) -> httpcore.Request:
    given = {name.lower() for name in headers}
    ours = {"Host": where.authority, "Connection": "close", "Accept-Encoding": "identity"}
    if "user-agent" not in given:
        ours["User-Agent"] = USER_AGENT
    if "accept" not in given:
        ours["Accept"] = "*/*"
    if body or method in ("POST", "PUT", "PATCH"):
        ours["Content-Length"] = str(len(body))
    url = httpcore.URL(
        scheme=where.scheme.encode(), host=where.host.encode(), port=where.port, target=where.path.encode()
    )
    lines = [(name.encode(), value.encode()) for name, value in [*ours.items(), *headers.items()]]
    return httpcore.Request(method.encode(), url, headers=lines, content=body)


def _read(answer: httpcore.Response, most: int) -> tuple[bytes, bool]:
    """The body up to a bound, and whether there is more of it."""
    stream, version = answer.extensions["network_stream"], answer.extensions["http_version"]
    if version not in (b"HTTP/1.0", b"HTTP/1.1") or answer.status < 200 or not isinstance(stream, Stream):
        raise BadAnswer(f"{version.decode('latin-1')} with the status {answer.status} is no answer", sent=True)
    stream.allow(HEAD_BYTES + FRAMING * most)
    found = bytearray()
    for chunk in answer.iter_stream():
        found += chunk
        if len(found) > most:
            return bytes(found[:most]), True
    return bytes(found), False


def _unquoted(error: Exception) -> str:
    """What a parser says of an answer, without the bytes that it quotes: a server says back what it was told."""
    return _QUOTED.split(str(error), maxsplit=1)[0]


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def _refuse(why: str, cure: str) -> NoReturn:
    raise Blocked(why, cure=cure)
