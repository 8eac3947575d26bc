"""Whether an engine's database can be worked with, and keeps tenants apart: looked at once for each engine."""

from __future__ import annotations

import warnings
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Connection, Engine

from jobforge_sa.db import calls, failures, pooler, seal
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.errors import (
    PoolNotSealedWarning,
    PreparedBehindPoolerWarning,
    RowSecurityOff,
    RowSecurityOffWarning,
    TokensUncheckedWarning,
    TokensVisibleWarning,
)
from jobforge_sa.tenant import Named, SignedTenant

_unbound: WeakKeyDictionary[Engine, RowSecurityOff | None] = WeakKeyDictionary()  # engines that were looked at
_unsealed: WeakSet[Engine] = WeakSet()  # those that were warned of


def look_at_pool(engine: Engine) -> None:
    """Say once that a pool hands on what a tenant leaves, where one is signed."""
    if not seal.is_sealed(engine) and engine not in _unsealed:
        _unsealed.add(engine)
        warnings.warn(PoolNotSealedWarning(), stacklevel=6)


def look(connection: Connection, *, strict: bool, tenant: Named | None = None) -> None:
    """Look at the database of a connection, unless that was done for its engine.

    Args:
        connection: One of the engine's; its role is taken for that of all.
        strict: Raise where row level security does not bind the login; otherwise it is said once.
        tenant: The tenant that is about to be set; one that is signed wants a database that checks.

    Raises:
        SchemaMismatch: the schema does not fit this code. RowSecurityOff: it is strict, and nothing binds the login.
    """
    if isinstance(tenant, SignedTenant):
        look_at_pool(connection.engine)
    if connection.engine not in _unbound:
        with translated(connection):
            _first_look(connection, strict, tenant)
    if strict and (weakness := _unbound[connection.engine]) is not None:
        raise weakness


def _first_look(connection: Connection, strict: bool, tenant: Named | None) -> None:
    row = connection.execute(calls.SCHEMA_VERSION).one_or_none()
    mismatch = failures.mismatch(*(row[:2] if row else (None, None)))
    if mismatch is not None:
        raise mismatch
    _, _, tenancy, bound, login, backend_pid = row or ("", "", "", True, "", 0)
    weakness = None if bound else RowSecurityOff(f'no row level security binds the login "{login}"')
    _unbound[connection.engine] = weakness
    if weakness is not None and not strict:
        warnings.warn(RowSecurityOffWarning(weakness.message), stacklevel=6)
    if isinstance(tenant, SignedTenant) and tenancy != "signed":
        warnings.warn(TokensUncheckedWarning(), stacklevel=6)
    if isinstance(tenant, SignedTenant) and connection.dialect.driver == "psycopg2":
        warnings.warn(TokensVisibleWarning(), stacklevel=6)
    driver = connection.connection.driver_connection
    if pooler.prepares(driver) and pooler.stands_between(driver, backend_pid):
        warnings.warn(PreparedBehindPoolerWarning(), stacklevel=6)
