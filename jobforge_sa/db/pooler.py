"""A pooler between us and Postgres, such as pgbouncer: found out, and what it must not be given.

In transaction mode each transaction may run on another server connection. psycopg names the statements that it
prepares alike in every client (`_pg3_0`, `_pg3_1` ...), so a client may meet another one's statement under the name of
its own, and run that: seen was `select $1` that ran as `set_config('jobforge.tenant_id', $1, true)`. Nothing is
prepared through a pooler, therefore.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Engine, event

BACKEND_PID: Final = "select pg_backend_pid()"


def driver_of(connection: Any) -> Any:
    """The driver's own connection, of what events get: async drivers come in an adapter."""
    return getattr(connection, "driver_connection", connection)


def stands_between(connection: Any, backend_pid: int) -> bool:
    """Whether the server's process is another one than the one that answered when the connection was opened.

    Args:
        connection: The driver's own: of psycopg, psycopg2 or asyncpg.
        backend_pid: What `pg_backend_pid()` says on it.
    """
    info = getattr(connection, "info", None)
    told = info.backend_pid if info is not None else connection.get_server_pid()
    return bool(told != backend_pid)


def prepares(connection: Any) -> bool:
    """Whether psycopg, if it is that, will prepare statements on its own."""
    return getattr(connection, "prepare_threshold", None) is not None


def tame(engine: Engine) -> None:
    """Let an engine of ours prepare nothing where a pooler stands between. Costs a round trip for each connection."""
    event.listen(engine, "connect", _look)


def _look(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(BACKEND_PID)
    (backend_pid,) = cursor.fetchone()
    cursor.close()
    connection.rollback()
    driver = driver_of(connection)
    if prepares(driver) and stands_between(driver, backend_pid):
        driver.prepare_threshold = None
