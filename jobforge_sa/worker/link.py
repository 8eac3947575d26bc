"""A connection of the worker's own: outside the application's pool, in autocommit, opened again when it breaks."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError

from jobforge_sa.db import calls, pooler
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.worker.voice import log

T = TypeVar("T")


PREPARE_AFTER = 5  # times that a statement comes, psycopg's own default
CONNECT_TIMEOUT = 10  # seconds for each address, where the application's own engine does not say
# a primary that became a standby: of several hosts another one may be the primary now
USELESS = (psycopg.InterfaceError, psycopg.errors.ReadOnlySqlTransaction)
CANCEL_TIMEOUT = 2.0  # seconds for the server to take a cancel request
_TLS = struct.pack("!ii", 8, 80877103)  # SSLRequest: a server and a pooler answer it with one byte


class LinkDown(Exception):
    """The connection broke or could not be opened: try again in a while."""


class Link:
    """One connection, lazily opened. Used by one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        if not event.contains(engine, "do_connect", _limit):
            event.listen(engine, "do_connect", _limit)
        self.answered: Callable[[], None] = lambda: None  # called each time that work was done
        self.pooled = False  # whether a pooler stands between, once it is open
        self._framed = False  # whether each piece of work needs a transaction that says its isolation
        self._fairy: Any = None
        self._since: float | None = None  # monotonic: it has been at work since then

    def run(self, work: Callable[[psycopg.Connection[Any]], T]) -> T:
        """Do something with the connection.

        Raises:
            LinkDown: it broke; whether the work was done is not known.
        """
        self._since = time.monotonic()
        try:
            result = self._try(work, self.connection())
        finally:
            self._since = None
        self.answered()
        return result

    def _try(self, work: Callable[[psycopg.Connection[Any]], T], connection: psycopg.Connection[Any]) -> T:
        try:
            if self._framed:
                with connection.transaction():
                    return work(connection)
            return work(connection)
        except psycopg.Error as error:
            gone = connection.closed or isinstance(error, USELESS)
            if gone:
                self.close()
            # statement-level trouble (a lock timeout, a deadlock) leaves the connection whole
            if gone or isinstance(error, psycopg.OperationalError):
                raise LinkDown(in_brief(error)) from error
            raise

    @property
    def busy(self) -> float:
        """For how many seconds it has been waiting for the server's answer."""
        since = self._since
        return time.monotonic() - since if since is not None else 0.0

    def sever(self) -> None:
        """Break the connection off from another thread: who waits for an answer on it gets an error instead."""
        fairy: Any = self._fairy
        if fairy is not None:
            cut(fairy.dbapi_connection)

    def cancel(self) -> None:
        """Cancel what the server is doing for it, from another thread."""
        fairy: Any = self._fairy
        if fairy is not None:
            with contextlib.suppress(Exception):  # a server that is gone does nothing either
                cancel(fairy.dbapi_connection)

    def connection(self) -> psycopg.Connection[Any]:
        """The open connection.

        Raises:
            LinkDown: it cannot be opened.
        """
        fairy = self._fairy
        if fairy is None:
            try:
                fairy = self._open()
            except (DBAPIError, psycopg.Error) as error:
                self.close()
                raise LinkDown(in_brief(error)) from error
        connection: psycopg.Connection[Any] = fairy.dbapi_connection
        return connection

    def close(self) -> None:
        """Close it, if it is open. The next use opens another."""
        fairy, self._fairy = self._fairy, None
        if fairy is not None:
            try:  # SQLAlchemy would roll back first, and log a traceback for each connection that broke
                fairy.dbapi_connection.close()
                fairy.invalidate()
            except Exception:  # a broken connection may fail to close; it is gone all the same
                log.debug("closing a broken connection failed", exc_info=True)

    def _open(self) -> Any:
        _opening.ours = True
        try:  # the engine's events and its creator take part, but handlers may hold all places of its pool
            fairy: Any = self._engine.pool.recreate().connect()
        finally:
            _opening.ours = False
        fairy.detach()  # ours for good: no pool takes it back
        self._fairy = fairy  # at once: also what comes now may never be answered
        connection: psycopg.Connection[Any] = fairy.dbapi_connection
        connection.rollback()
        connection.autocommit = True
        isolation, backend_pid, idle = connection.execute(calls.HOW_IT_STANDS).fetchone() or ("", 0, "0")
        self.pooled = pooler.stands_between(connection, backend_pid)
        self._settle(connection, isolation, idle)
        # ours alone: what a sealed engine forbids its pool does no harm here
        connection.prepare_threshold = None if self.pooled else PREPARE_AFTER
        return fairy

    def _settle(self, connection: psycopg.Connection[Any], isolation: str, idle: str) -> None:
        """What the login's settings would spoil. Nothing for the session where a pooler would hand it on."""
        above = isolation != "read committed"
        self._framed = self.pooled and above
        if self._framed:
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        elif above:
            connection.execute("set default_transaction_isolation = 'read committed'")
        if idle != "0" and not self.pooled:  # a listener has nothing to say for hours
            connection.execute("set idle_session_timeout = 0")


def cut(connection: Any) -> None:
    """Shut the socket of a driver's connection, whoever waits on it.

    Where packets are swallowed on the way, nothing else ends the wait: a proxy acknowledges for a server that is gone,
    so neither keepalives nor tcp_user_timeout help (seen).
    """
    with (
        contextlib.suppress(OSError, psycopg.Error, AttributeError),
        socket.socket(fileno=os.dup(_descriptor(connection))) as wire,
    ):
        wire.shutdown(socket.SHUT_RDWR)


def cancel(connection: Any) -> None:
    """Cancel what the server is doing on a driver's connection. Ends within seconds, one way or the other.

    PQcancel has no timeout and holds the interpreter lock: on a half-open network the whole process would stand still
    for ever, heartbeats and all (seen). libpq has a better way from 17 on; before, the server is asked for a sign of
    life first.
    """
    if hasattr(connection, "cancel_safe") and psycopg.capabilities.has_cancel_safe():
        connection.cancel_safe(timeout=CANCEL_TIMEOUT)
    elif connection.closed or _answers(connection):
        connection.cancel()


def _answers(connection: Any) -> bool:
    """Whether a server answers where this connection leads to, be it only that it does no TLS."""
    with (
        socket.socket(fileno=os.dup(_descriptor(connection))) as wire,
        socket.socket(wire.family, socket.SOCK_STREAM) as other,
    ):
        other.settimeout(CANCEL_TIMEOUT)
        other.connect(wire.getpeername())
        other.sendall(_TLS)
        return bool(other.recv(1))


def _descriptor(connection: Any) -> int:
    if hasattr(connection, "fileno"):
        return int(connection.fileno())
    return int(connection._transport.get_extra_info("socket").fileno())  # asyncpg has no other way to it


_opening = threading.local()  # whether it is a link that opens a connection in this thread


def _limit(_dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
    """A link does not wait for ever where nobody answers, as psycopg does for over two minutes."""
    if getattr(_opening, "ours", False):
        parameters.setdefault("connect_timeout", CONNECT_TIMEOUT)


def own_engine(engine: Any, slots: int) -> Engine:
    """An engine with psycopg for what the worker was given: an `Engine`, an `AsyncEngine` or a URL.

    Raises:
        ConfigurationError: it is no way to a Postgres.
    """
    if isinstance(engine, Engine) and engine.dialect.driver == "psycopg" and not engine.dialect.is_async:
        return engine
    url = make_url(engine) if isinstance(engine, str) else getattr(engine, "url", None)
    if url is None or not url.drivername.startswith("postgres"):
        raise ConfigurationError(
            "the worker needs a way to a Postgres",
            cure="pass create_engine('postgresql+psycopg://...') or its URL",
        )
    own = create_engine(url.set(drivername="postgresql+psycopg"), pool_size=slots)  # a session for each handler
    pooler.tame(own)
    return own


def backoff(failures: int) -> float:
    """How long to wait after so many failures in a row: 0.1, 0.2 ... 10 s, half of it by chance."""
    return min(10.0, 0.1 * 2.0 ** min(failures, 10)) * (0.5 + random.random() / 2)


def in_brief(error: BaseException) -> str:
    """What went wrong, without the statement and its values."""
    # where a host has several addresses psycopg says so first, and what went wrong on indented lines
    lines = [line.strip() for line in str(getattr(error, "orig", None) or error).strip().splitlines()]
    return " ".join(lines[:3]) or type(error).__name__
