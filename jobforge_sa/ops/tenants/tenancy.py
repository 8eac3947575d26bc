"""Tenancy, plain or signed, and the keys that sign: read and changed as jobforge_owner."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, TextClause, inspect

from jobforge_sa.db import calls, failures, role
from jobforge_sa.errors import AccessDenied, ConfigurationError, SchemaMismatch
from jobforge_sa.ops import database, times
from jobforge_sa.ops.reader import moment
from jobforge_sa.tenant import TenantKey


@dataclass(frozen=True, slots=True)
class Key:
    """A key as the database knows it, without its secret."""

    key_id: str
    created_at: dt.datetime
    retired_at: dt.datetime | None
    accepted: bool  # its tokens are
    signs: bool  # what the database gives out: to workers' handlers, to administrators


@dataclass(frozen=True, slots=True)
class Tenancy:
    """How tenants are named."""

    tenancy: str
    keys: tuple[Key, ...] | None  # newest first; None: this login may not see them
    now: dt.datetime

    @property
    def signed(self) -> bool:
        """Whether a tenant counts only with a token."""
        return self.tenancy == "signed"


def look(target: Engine) -> Tenancy:
    """Look at tenancy and keys; a login without the owner's rights sees the first only.

    Raises:
        AccessDenied: it may not even see that. SchemaMismatch: there is no schema, or an older one.
    """
    with database.translated(target, "jobforge_app"), target.connect() as connection:
        if role.become(connection, "jobforge_owner"):
            return read(connection)
        _, _, tenancy, *_ = connection.execute(calls.SCHEMA_VERSION).one()
        return Tenancy(tenancy, None, moment(connection))


def _of_today(connection: Connection) -> str:
    day = f"{moment(connection):%Y-%m-%d}"
    taken = {key.key_id for key in connection.execute(calls.TENANT_KEYS)}
    return day if day not in taken else next(name for n in itertools.count(2) if (name := f"{day}-{n}") not in taken)


def read(connection: Connection) -> Tenancy:
    """The same, on a connection that acts as jobforge_owner."""
    rows, now = connection.execute(calls.TENANT_KEYS).all(), moment(connection)
    signing = next((row.key_id for row in rows if row.retired_at is None), None)
    keys = [
        Key(
            row.key_id,
            row.created_at,
            row.retired_at,
            accepted=row.retired_at is None or row.retired_at > now,
            signs=row.key_id == signing,
        )
        for row in rows
    ]
    # a row that is missing means signed: see settings
    tenancy = connection.scalar(calls.TENANCY) or "signed"
    return Tenancy(tenancy, tuple(keys), now)


def add_key(target: Engine, key_id: str | None) -> tuple[TenantKey, Tenancy]:
    """Make a key and let the database know it. What comes back is the only copy that can be read.

    Args:
        target: The database.
        key_id: Its id. Default: the day, by the database's clock; the second key of a day is 2026-11-24-2.

    Raises:
        ConfigurationError: that is no id. InvalidJob: there is a key of that id.
    """
    with owning(target) as connection:
        key = TenantKey.generate(key_id or _of_today(connection))
        connection.execute(calls.ADD_TENANT_KEY, {"key_id": key.id, "secret": key.secret})
        return key, read(connection)


def retire_key(target: Engine, key_id: str, at: str | None, *, force: bool = False) -> Tenancy:
    """Refuse a key's tokens from now on, or from the time that `at` means.

    Raises:
        ConfigurationError: `at` is no time; without it and without `force`, handlers that run hold the key's tokens.
        InvalidJob: there is no such key. WrongState: it is the last one.
    """
    with owning(target) as connection:
        when = None if at is None else times.moment(at, moment(connection), ahead=True)
        if when is None and not force:
            _spare(connection, calls.LEASES_BEFORE_KEY, "retire it later: --at 1h, or at once: --now", key_id=key_id)
        connection.execute(calls.RETIRE_TENANT_KEY, {"key_id": key_id, "at": when})
        return read(connection)


def use(target: Engine, tenancy: str, *, force: bool = False) -> None:
    """Switch, for all transactions that begin from now on.

    Raises:
        WrongState: signed tenancy needs a key. ConfigurationError: without `force`, handlers that run have no token.
    """
    with owning(target) as connection:
        if tenancy == "signed" and not force:
            _spare(connection, calls.LEASES_BEFORE_KEYS, "wait until they have ended, or switch at once: --now")
        connection.execute(calls.USE_TENANCY, {"tenancy": tenancy})


def _spare(connection: Connection, query: TextClause, cure: str, **values: str) -> None:
    """Refuse what would fail handlers that run, and charge their jobs for it."""
    running = connection.scalar(query, values)
    if running:
        raise ConfigurationError(
            f"{running} running {'job was' if running == 1 else 'jobs were'} claimed before there was another key: "
            "their handlers would fail",
            cure=cure,
        )


@contextmanager
def owning(target: Engine) -> Iterator[Connection]:
    """A transaction that acts as jobforge_owner, and commits.

    Raises:
        AccessDenied: the login may not. SchemaMismatch: there is no schema, or an older one.
    """
    with database.translated(target, "jobforge_owner"), target.begin() as connection:
        if not role.become(connection, "jobforge_owner"):
            if not inspect(connection).has_schema("jobforge"):
                raise failures.mismatch(None, None) or SchemaMismatch("there is no schema jobforge")
            raise AccessDenied(
                "the tenancy and its keys are the owner's, and this login may not act as jobforge_owner",
                cure="use the login that migrates: --url, or JOBFORGE_DATABASE_URL",
            )
        yield connection
