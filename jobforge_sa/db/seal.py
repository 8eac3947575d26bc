"""Pooled connections that carry nothing from one user to the next.

A pool rolls back and hands on. What outlives a rollback goes with it: settings of the session, a role, temporary tables
and types, prepared statements, advisory locks. An honest `SET` spoils the next user's work; an injected one can wait
for the next tenant, and read its token, in a temporary table that stands in front of the application's own, or in a
statement that took the name of one that psycopg had prepared.

What the application's own events set when a connection opens is put back: they may have set a role.
"""

from __future__ import annotations

from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Dialect, Engine, NullPool, event
from sqlalchemy.exc import DisconnectionError

from jobforge_sa.db import pooler

WIPE: Final = (  # what DISCARD ALL does, which must stand alone; without what the driver has prepared
    "close all; reset session authorization; reset all; unlisten *; "
    "select pg_catalog.pg_advisory_unlock_all(); discard temp; discard sequences"
)
DISCARD: Final = f"{WIPE}; deallocate all; discard plans"

ORIGIN: Final = "jobforge.origin"  # in Connection.info
SEALED: Final = "jobforge.sealed"  # the connection was made by an engine that was sealed already
# settings as pairs of literals; those with a dot in their names, such as a tenant, are not listed by pg_settings
AS_IT_OPENED: Final = """
select pg_catalog.pg_backend_pid(),
       'set session authorization ' || pg_catalog.quote_ident(session_user)
           || case when pg_catalog.current_setting('role') = 'none' then ''
                   else '; set role ' || pg_catalog.quote_ident(pg_catalog.current_setting('role')) end,
       array(select pg_catalog.quote_literal(s.name) || ', ' || pg_catalog.quote_literal(s.setting)
               from pg_catalog.pg_settings s where s.source = 'session' and s.context in ('user', 'superuser'))"""

_sealed: WeakSet[Dialect] = WeakSet()  # an engine's own, shared by those that its execution_options() make


def seal(engine: Any) -> None:
    """Have an engine's connections return to its pool as if they were new. Call it right behind `create_engine`.

    For signed tenancy, where SQL that was injected in one tenant's request must not wait on the connection for another
    tenant's. Each return costs a round trip, and psycopg and asyncpg prepare no statements for later. Settings that
    your own events make when a connection opens are put back, except those with a dot in their names.

    Connections that the pool has already are replaced when they are asked for next: who knows what waits on them.

    Behind pgbouncer in transaction mode the server's connections are pgbouncer's to reset:
    `server_reset_query_always = 1`.

    Args:
        engine: An `Engine` or `AsyncEngine` with psycopg, psycopg2 or asyncpg. Once is enough.
    """
    engine = getattr(engine, "sync_engine", engine)
    if engine.dialect in _sealed:
        return
    _sealed.add(engine.dialect)
    event.listen(engine, "do_connect", _prepare_nothing)
    event.listen(engine, "connect", _mark)
    event.listen(engine, "checkout", _admit)
    event.listen(engine, "reset", _discard)


def is_sealed(engine: Engine) -> bool:
    """Whether nothing is handed on: by `seal`, or because connections are not pooled."""
    return engine.dialect in _sealed or isinstance(engine.pool, NullPool)


def remember(connection: Any, record: Any, _fairy: object) -> None:
    """At a connection's first checkout, note how it was opened (listener of `checkout`).

    Behind a pooler there is nothing to note: each transaction may be another server connection's.
    """
    if ORIGIN in record.info:
        return
    cursor = connection.cursor()
    cursor.execute(AS_IT_OPENED)
    backend_pid, identity, pairs = cursor.fetchone()
    cursor.close()
    connection.rollback()
    settings = "".join(f"; select pg_catalog.set_config({pair}, false)" for pair in pairs)
    record.info[ORIGIN] = (
        None if pooler.stands_between(pooler.driver_of(connection), backend_pid) else identity + settings
    )


def wipe(connection: Any, record: Any, statements: str = WIPE) -> None:
    """Undo what a session has left on a connection; what the driver has prepared stays.

    Args:
        connection: SQLAlchemy's idea of the driver's connection, as events get it.
        record: Its record in the pool, which `remember` has seen.
        statements: WIPE, or DISCARD.
    """
    origin = record.info.get(ORIGIN)
    if origin is None:  # a pooler's server connections are the pooler's to reset
        return
    connection.rollback()
    text = f"{statements}; {origin}"
    if not hasattr(pooler.driver_of(connection), "autocommit"):  # asyncpg: its adapter takes one statement at a time
        connection.run_async(lambda driver: driver.execute(text))
        return
    mode, connection.autocommit = connection.autocommit, True
    cursor = connection.cursor()
    cursor.execute(text)
    cursor.close()
    connection.autocommit = mode


def _prepare_nothing(dialect: Any, _record: object, _arguments: object, parameters: dict[str, Any]) -> None:
    if dialect.driver == "psycopg":
        parameters["prepare_threshold"] = None
    elif dialect.driver == "asyncpg":
        parameters["prepared_statement_cache_size"] = parameters["statement_cache_size"] = 0


def _mark(_connection: object, record: Any) -> None:
    record.info[SEALED] = True


def _admit(connection: Any, record: Any, fairy: object) -> None:
    if SEALED not in record.info:
        raise DisconnectionError("the connection is older than its engine's seal")  # the pool makes another one
    remember(connection, record, fairy)


def _discard(connection: Any, record: Any, state: Any) -> None:
    # else it was detached, or left to the garbage collector: it is closed; or the next checkout refuses it
    if record is not None and state.asyncio_safe and SEALED in record.info:
        wipe(connection, record, DISCARD)
