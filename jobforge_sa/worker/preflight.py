"""What a worker looks at before it starts: is there a server, does the schema fit, may this login work."""

from __future__ import annotations

import psycopg
from sqlalchemy import Engine

from jobforge_sa.db import calls, failures
from jobforge_sa.db.url import shown
from jobforge_sa.errors import AccessDenied, ServerUnavailable
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
        raise ServerUnavailable(
            f"no connection to {shown(engine.url)}: {error}",
            cure="start the server, or correct host, port, database, user and password in the URL",
        ) from error
    except psycopg.Error as error:
        better = failures.translate(error, role="jobforge_worker", login=engine.url.username)
        if better is None:
            raise
        raise better from error
    finally:
        link.close()


def _judge(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    revision, serves = connection.execute(calls.FITS).fetchone() or (None, None)
    mismatch = failures.mismatch(str(revision) if revision else None, str(serves) if serves else None)
    if mismatch is not None:
        raise mismatch
    allowed, login = connection.execute(calls.MAY_WORK).fetchone() or (False, "")
    if not allowed:
        raise AccessDenied(
            f'"{login}" is no member of jobforge_worker', cure=f'a DBA runs: grant jobforge_worker to "{login}";'
        )
