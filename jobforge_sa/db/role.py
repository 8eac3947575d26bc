"""The role that a transaction acts as: one of jobforge's, where the login may."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, column, func, select, table

_ROLES = table("pg_roles", column("oid"), column("rolname"), schema="pg_catalog")


def become(connection: Connection, role: str) -> bool:
    """Act as the role for the rest of this transaction, where the login may.

    A login that is in jobforge_app as well needs that to see all tenants: its wall stands before what jobforge_admin
    may. One that is granted a role WITHOUT INHERIT needs it to do anything.
    """
    version: Any = getattr(connection.dialect, "server_version_info", None) or (0,)
    may = func.pg_has_role(_ROLES.c.oid, "SET" if version >= (16,) else "MEMBER")
    return connection.scalar(select(_set(role)).where(_ROLES.c.rolname == role, may)) is not None


def held(connection: Connection) -> list[str]:
    """Ours whose rights the login has without a word."""
    named = _ROLES.c.rolname.in_(("jobforge_owner", "jobforge_app", "jobforge_worker", "jobforge_admin"))
    may = func.pg_has_role(_ROLES.c.oid, "USAGE")
    return [str(name) for name in connection.scalars(select(_ROLES.c.rolname).where(named, may))]


def current(connection: Connection) -> str:
    """The role that was set, or "none"."""
    return str(connection.scalar(select(func.current_setting("role"))))


def restore(connection: Connection, role: str) -> None:
    """Act again as what `current` told."""
    connection.execute(select(_set(role)))


def _set(role: str) -> Any:
    return func.set_config("role", role, True)
