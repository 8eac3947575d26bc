"""What a worker looks at before it starts: is there a server, does the schema fit, may this login work."""

from __future__ import annotations

import psycopg
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from jobforge_sa.db import calls, failures
from jobforge_sa.enqueue import fit
from jobforge_sa.errors import AccessDenied
from jobforge_sa.worker.link import Link, LinkDown


def look(engine: Engine) -> None:
    """Raise where a worker could not work.

    Raises:
        ServerUnavailable, SchemaMismatch, AccessDenied: each names its cure.
    """
    link = Link(engine)
    try:
        _judge(link.connection())
    except LinkDown as error:
        raise failures.unreachable(engine.url, error) from error
    except psycopg.Error as error:
        better = failures.translate(error, role="jobforge_worker", login=engine.url.username)
        if better is None:
            raise
        raise better from error
    finally:
        link.close()


def look_at_sessions(engine: Engine, *, strict: bool) -> bool:
    """Raise, or warn, where the handlers' sessions would not be kept to their tenants.

    Returns:
        Whether tenants are signed there.

    Raises:
        ServerUnavailable, SchemaMismatch, AccessDenied, RowSecurityOff: each names its cure.
    """
    try:
        with engine.connect() as connection:
            fit.look(connection, strict=strict)
            return bool(connection.execute(calls.SCHEMA_VERSION).one().tenancy == "signed")
    except DBAPIError as error:
        better = failures.translate(error, role="jobforge_app", login=engine.url.username)
        if better is None and failures.sqlstate(error) is None:
            better = failures.unreachable(engine.url, error.orig)
        if better is None:
            raise
        raise better from error


def _judge(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    revision, serves = connection.execute(calls.FITS).fetchone() or (None, None)
    mismatch = failures.mismatch(str(revision) if revision else None, str(serves) if serves else None)
    if mismatch is not None:
        raise mismatch
    allowed, login = connection.execute(calls.MAY_WORK).fetchone() or (False, "")
    if not allowed:
        raise AccessDenied(
            f'"{login}" is no member of jobforge_worker', cure=failures.remedy("jobforge_worker", f'"{login}"')
        )
