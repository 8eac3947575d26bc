"""What a worker looks at before it starts: is there a server, does the schema fit, may this login work."""

from __future__ import annotations

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from jobforge_sa.db import calls, failures
from jobforge_sa.enqueue import fit
from jobforge_sa.enqueue.tenant import autocommits
from jobforge_sa.errors import AccessDenied, ConfigurationError, JobForgeError
from jobforge_sa.worker.link import Link, LinkDown
from jobforge_sa.worker.voice import log


def look(engine: Engine) -> str:
    """Raise where a worker could not work.

    Returns:
        Which database this is.

    Raises:
        ServerUnavailable, SchemaMismatch, AccessDenied: each names its cure.
    """
    link = Link(engine)
    try:
        return _judge(link.connection())
    except LinkDown as error:
        raise failures.unreachable(engine.url, error) from error
    except psycopg.Error as error:
        better = _better(error, engine, "jobforge_worker")
        if better is None:
            raise
        raise better from error
    finally:
        link.close()


def look_at_sessions(engine: Engine, database: str, *, strict: bool) -> None:
    """Raise, or warn, where handlers' sessions would not be kept to their tenants, or could not complete their jobs.

    Raises:
        ServerUnavailable, SchemaMismatch, AccessDenied, RowSecurityOff: each names its cure.
        ConfigurationError: it is no engine, or one of another database than that of the jobs.
    """
    _be_engine(engine)
    try:
        with engine.connect() as connection:
            _tell_autocommit(connection)
            fit.look(connection, strict=strict)
            there, fit_for_it, login = connection.execute(calls.SESSIONS).one()
    except DBAPIError as error:
        better = _better(error, engine, "jobforge_app")
        if better is None:
            raise
        raise better from error

    if there != database:
        raise ConfigurationError(
            "handlers' sessions connect to another database than the one that jobs are claimed from, and what they "
            "write could not commit together with the completion",
            cure="give session_engine, or --session-url, the same host, port and database with another login",
        )
    if not fit_for_it:
        log.warning(
            "handlers' sessions log in as %s, which is no member of jobforge_app: those that use ctx.session will "
            "fail; pass session_engine=, or --session-url, with a login of the application", login,
        )  # fmt: skip


def _be_engine(engine: object) -> None:
    if not isinstance(engine, Engine):
        raise ConfigurationError(
            f"session_engine is a {type(engine).__name__}",
            cure="pass an Engine; one of async handlers is async_session_engine",
        )


def _tell_autocommit(connection: Connection) -> None:
    if autocommits(connection):
        log.warning(
            "handlers' sessions are in AUTOCOMMIT: those that use ctx.session will fail, for what they write could not "
            "commit together with the completion; pass session_engine=, another engine"
        )


def _better(error: DBAPIError | psycopg.Error, engine: Engine, role: str) -> JobForgeError | None:
    """The library's own error, or None where the database's says it best."""
    if failures.is_away(error):
        return failures.unreachable(engine.url, getattr(error, "orig", error))
    return failures.translate(error, role=role, login=engine.url.username)


def _judge(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    revision, serves = connection.execute(calls.FITS).fetchone() or (None, None)
    mismatch = failures.mismatch(str(revision) if revision else None, str(serves) if serves else None)
    if mismatch is not None:
        raise mismatch
    allowed, login, database = connection.execute(calls.MAY_WORK).fetchone() or (False, "", "")
    if not allowed:
        raise AccessDenied(
            f'"{login}" is no member of jobforge_worker', cure=failures.remedy("jobforge_worker", f'"{login}"')
        )
    return str(database)
