"""The database of a command: which one, how it is shown, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, NullPool, create_engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobforge_sa.db import calls, failures, migrate, pooler
from jobforge_sa.db import role as roles
from jobforge_sa.errors import AccessDenied, ConfigurationError, JobForgeError, QuotaExceeded

CONNECT_TIMEOUT = 10  # seconds for each address; libpq's own default is to wait for ever


def engine(url: str | None, *, name: str = "jobforge", pinned: bool = True, **options: Any) -> Engine:
    """An engine of psycopg's for the URL of a command, or of the environment.

    Args:
        url: The database's URL.
        name: What the server is told that this is.
        pinned: Whether names are looked for in pg_catalog alone. Not where an application's handlers run.
        options: Of `create_engine`.

    Raises:
        ConfigurationError: there is no URL, or it is none of a Postgres.
    """
    target = _resolved(url)
    arguments: dict[str, Any] = {"fallback_application_name": name}
    if "connect_timeout" not in target.query:
        arguments["connect_timeout"] = CONNECT_TIMEOUT
    pool = {} if "pool_size" in options else {"poolclass": NullPool}
    # an error of a statement is shown to whoever sits at the terminal, and one of them takes a secret
    made = create_engine(target, connect_args=arguments, hide_parameters=True, **pool, **options)
    pooler.tame(made)
    if pinned:
        event.listen(made, "connect", _pin, insert=True)  # before the dialect asks its first questions
    return made


def _pin(connection: Any, _record: object) -> None:
    # a command runs with great rights: what somebody has put into `public`, or into a schema named like the login, must
    # not be met by a name that we write
    with connection.cursor() as cursor:
        cursor.execute(calls.PIN_PATH)
    connection.commit()


def require(target: Engine, role: str) -> None:
    """Connect once.

    Raises:
        ServerUnavailable: that cannot be done.
    """
    with translated(target, role), target.connect():
        pass
    target.dispose()  # it is not held open: the worker's own connections come from no pool


@contextmanager
def translated(target: Engine, role: str) -> Iterator[None]:
    """Raise the library's errors for the database's, whatever they are.

    Args:
        target: Where the block connects.
        role: The role that it needs.
    """
    try:
        yield
    except AccessDenied as error:  # translated where only the caller's connection was known
        if not error.role:
            raise
        raise _denied(target, role, error.__cause__) or error from error.__cause__
    except QuotaExceeded as error:  # in a command's words
        cure = "wait until some have run; or an administrator raises it: jobforge tenants limit TENANT --max-waiting N"
        raise QuotaExceeded(error.message, cure=cure) from error
    except (DBAPIError, psycopg.Error, PoolTimeout) as error:
        cause = getattr(error, "orig", None) or error
        text = " ".join(line for line in str(cause).splitlines() if not line.startswith("\t"))
        if failures.sqlstate(error) is None:
            raise failures.unreachable(target.url, text) from error
        better = failures.translate(error, role=role, login=target.url.username)
        if isinstance(better, AccessDenied):
            better = _denied(target, role, error)
        raise better or JobForgeError(f"the database refuses: {text}") from error


def _denied(target: Engine, role: str, error: BaseException | None) -> JobForgeError | None:
    """The refusal, with the cure that fits what the login has."""
    if error is None:
        return None
    return failures.translate(error, role=role, login=target.url.username, roles=_roles(target))


def _roles(target: Engine) -> list[str]:
    """Those of ours that the login has: what it lacks is cured by what it is for."""
    try:
        with target.connect() as connection:
            return roles.held(connection)
    except (DBAPIError, PoolTimeout):
        return []


def _resolved(url: str | None) -> URL:
    try:
        target = migrate.database_url(url)
    except LookupError as error:
        raise ConfigurationError(
            "no database is given", cure=f"pass --url URL, or set {' or '.join(migrate.URL_VARIABLES)}"
        ) from error
    except (ArgumentError, ValueError) as error:  # its text may hold the password
        raise ConfigurationError(
            "the database's URL cannot be read", cure="write postgresql://user:password@host:5432/database"
        ) from error
    if not target.drivername.startswith("postgres"):
        raise ConfigurationError(
            f"jobs live in Postgres, and this is a URL of {target.get_backend_name()}",
            cure="write postgresql://user:password@host:5432/database",
        )
    return target.set(drivername="postgresql+psycopg")
