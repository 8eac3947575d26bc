"""The role that a transaction acts as: one of jobforge's, where the login may."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, TextClause, text

# Every name is pg_catalog's own, and every argument has the type that it takes: an operator or a function of somebody's
# in `public`, which fits the driver's varchar exactly, would else run here, with the rights of an administrator.
_BECOME = """
select pg_catalog.set_config('role', cast(:role as pg_catalog.text), true) from pg_catalog.pg_roles r
 where r.rolname operator(pg_catalog.=) cast(cast(:role as pg_catalog.text) as pg_catalog.name)
   and pg_catalog.pg_has_role(r.oid, '{right}')"""
_HELD = text("""
select r.rolname from pg_catalog.pg_roles r
 where r.rolname operator(pg_catalog.~) '^jobforge_(owner|app|worker|admin)$'
   and pg_catalog.pg_has_role(r.oid, 'USAGE') order by r.rolname""")
_CURRENT = text("select pg_catalog.current_setting('role')")
_RESTORE = text("select pg_catalog.set_config('role', cast(:role as pg_catalog.text), true)")


def become(connection: Connection, role: str) -> bool:
    """Act as the role for the rest of this transaction, where the login may.

    A login that is in jobforge_app as well needs that to see all tenants: its wall stands before what jobforge_admin
    may. One that is granted a role WITHOUT INHERIT needs it to do anything.
    """
    version: Any = getattr(connection.dialect, "server_version_info", None) or (0,)
    return connection.scalar(_become("SET" if version >= (16,) else "MEMBER"), {"role": role}) is not None


def held(connection: Connection) -> list[str]:
    """Ours whose rights the login has without a word."""
    return [str(name) for name in connection.scalars(_HELD)]


def current(connection: Connection) -> str:
    """The role that was set, or "none"."""
    return str(connection.scalar(_CURRENT))


def restore(connection: Connection, role: str) -> None:
    """Act again as what `current` told."""
    connection.execute(_RESTORE, {"role": role})


def _become(right: str) -> TextClause:
    return text(_BECOME.format(right=right))
