"""The server's side of a handler's session: what runs there can be cancelled, and nothing of it is handed on."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, event

from jobforge_sa.db import seal
from jobforge_sa.worker.link import cancel, cut
from jobforge_sa.worker.voice import log

KEY = "jobforge.backend"  # in Connection.info
USED = "jobforge.used"
ACTIVE = 1  # libpq's PQTRANS_ACTIVE: a command is in progress


class Backend:
    """The connection that a run's session has checked out, as long as it has.

    A cancel request names a process of the server, not a statement: a connection that went back to its pool meanwhile
    would have somebody else's statement cancelled. And a request may never end on a half-open network. So nobody waits
    for one: a connection whose request is still on its way is thrown away when it comes back.
    """

    idle_since: float | None = None  # monotonic: a transaction is open, and its last statement ended then
    stream: Any = None  # the last cursor of the server's, from which rows are fetched without a statement
    _place: object = None  # how far that had been read when it was looked at
    _moved = 0.0  # monotonic: something was seen to be done beside statements
    _connection: Any = None
    _cancelling: tuple[Any, ...] = ()  # connections, one for each request on its way

    def __init__(self) -> None:
        self._lock = threading.Lock()  # held for a moment only, never while the network is waited for

    def hold(self, connection: Connection) -> None:
        """A transaction has begun on this connection."""
        connection.info[KEY] = self
        self.idle_since = time.monotonic()
        with self._lock:
            self._connection = connection.connection.driver_connection

    def let_go(self) -> bool:
        """The connection goes back to its pool.

        Returns:
            Whether the pool may have it; not, where a cancel request for it is on its way.
        """
        self.idle_since = self.stream = None
        with self._lock:
            connection, self._connection = self._connection, None
            return all(other is not connection for other in self._cancelling)

    def idle_for(self) -> float:
        """Seconds for which a transaction has been open with which nothing is done, as far as looks can see."""
        since = self.idle_since
        if since is None:
            return 0.0
        place = _place(self.stream)
        with self._lock:
            busy = _is_busy(self._connection)
        if busy or place != self._place:
            self._place, self._moved = place, time.monotonic()
        return time.monotonic() - max(since, self._moved)

    def sever(self) -> None:
        """Break the connection off: who was left behind gives its place in the pool back, its locks, and its writes."""
        with self._lock:  # it cannot go back to the pool meanwhile, and be somebody else's
            if self._connection is not None:
                cut(self._connection)

    def cancel(self) -> None:
        """Cancel the statement that is running, if there is one. Does not wait: the heartbeat may be the caller."""
        with contextlib.suppress(RuntimeError):  # no more threads: its context and its timeout tell it as well
            threading.Thread(target=self._cancel, name="jobforge-cancel", daemon=True).start()

    def _cancel(self) -> None:
        with self._lock:
            connection = self._connection
            if connection is None:
                return
            self._cancelling += (connection,)
        try:
            cancel(connection)
        except Exception:  # a server that is gone runs no statement either
            log.debug("cancelling a handler's statement failed", exc_info=True)
        finally:
            with self._lock:
                left = list(self._cancelling)
                left.remove(connection)
                self._cancelling = tuple(left)


def _place(stream: Any) -> object:
    """How far a cursor of the server's has been read. Only psycopg says; others' are read on until they are closed."""
    cursor = getattr(stream, "_cursor", stream)  # SQLAlchemy's adapters to async drivers
    if cursor is None or getattr(cursor, "closed", False):
        return None
    return cursor.rownumber if hasattr(cursor, "pgresult") else time.monotonic()


def _is_busy(connection: Any) -> bool:
    """Whether the driver is at work for somebody who went past SQLAlchemy, as COPY does."""
    try:
        if hasattr(connection, "pgconn"):
            return bool(connection.pgconn.transaction_status == ACTIVE)
        return hasattr(connection, "get_transaction_status") and connection.get_transaction_status() == ACTIVE
    except Exception:  # it was closed meanwhile
        return False


def use(connection: Connection) -> None:
    """A handler's transaction has begun on this connection: it goes back to its pool as it came."""
    connection.info[USED] = True


def watch(engine: Engine) -> None:
    """Have connections wiped, unless that is done, and let go of when they return to the engine's pool."""
    if event.contains(engine, "checkin", _returned):
        return
    event.listen(engine, "checkin", _returned)
    event.listen(engine, "before_cursor_execute", _begins)  # 0.3 µs each
    event.listen(engine, "after_cursor_execute", _ends)
    event.listen(engine, "handle_error", _fails)
    if not seal.is_sealed(engine):
        event.listen(engine, "checkout", seal.remember)
        event.listen(engine, "reset", _wipe)


def _wipe(connection: Any, record: Any, state: Any) -> None:
    # a SET without LOCAL, a lock, a temporary table: one tenant's handler must not spoil the next one's (G7).
    # Connections that the application itself used are its own business
    if record is None or not record.info.pop(USED, False):
        return
    if state.asyncio_safe and seal.SEALED not in record.info:  # the seal, which may come later, wipes its own
        seal.wipe(connection, record)


def _begins(connection: Connection, *_: object) -> None:
    backend = connection.info.get(KEY)
    if backend is not None:
        backend.idle_since = None


def _ends(
    connection: Connection, cursor: Any = None, _statement: object = None, _values: object = None, context: Any = None,
    _many: object = None,
) -> None:  # fmt: skip
    backend = connection.info.get(KEY)
    if backend is not None:
        if getattr(context, "_is_server_side", False):
            backend.stream = cursor
        backend.idle_since = time.monotonic()


def _fails(context: ExceptionContext) -> None:
    if context.connection is not None and not context.is_disconnect:
        _ends(context.connection)


def _returned(_connection: object, record: Any) -> None:
    backend = record.info.pop(KEY, None)
    if backend is not None and not backend.let_go():
        record.invalidate()  # the pool opens another one in its place
