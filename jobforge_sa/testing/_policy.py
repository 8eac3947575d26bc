"""The policies of a table: whether they bind this login at all, what they say, and what they should say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import FromClause, Row, Table, Uuid, text
from sqlalchemy.orm import Session
from sqlalchemy.types import Integer

from jobforge_sa.tenant import SignedTenant, Tenant
from jobforge_sa.testing._verdict import ProvesNothing, said

_LOGIN = text("select rolname, rolsuper, rolbypassrls from pg_roles where rolname = current_user")
_TABLE = text(
    "select c.relkind in ('v', 'm') as is_view, c.relrowsecurity as enabled, c.relforcerowsecurity as forced, "
    "row_security_active(c.oid) as active, pg_get_userbyid(c.relowner) as owner, coalesce((select option_value::bool "
    "from pg_options_to_table(c.reloptions) where option_name = 'security_invoker'), false) as invoker "
    "from pg_class c where c.oid = to_regclass(:name)"
)
_POLICIES = text(
    "select polname as name, polpermissive as permissive, case polcmd when 'r' then 'select' when 'a' then 'insert' "
    "when 'w' then 'update' when 'd' then 'delete' else 'all' end as command, pg_get_expr(polqual, polrelid) as shows, "
    "pg_get_expr(polwithcheck, polrelid) as takes from pg_policy where polrelid = to_regclass(:name) order by polname"
)


def name_of(session: Session, table: FromClause) -> str:
    """A table as SQL names it."""
    return session.connection().dialect.identifier_preparer.format_table(table)


def require_signed(tenants: Iterable[Tenant]) -> None:
    """Raise where tenancy is signed and a tenant is not.

    Raises:
        ProvesNothing: it would see nothing behind policies that ask for the token, and be believed by the others.
    """
    if not all(isinstance(tenant, SignedTenant) for tenant in tenants):
        raise ProvesNothing(
            said(
                "this would prove nothing: tenancy is signed in this database, and the tenants of the test are not",
                cure="let the fixture jobforge_tenants return signed ones, as your application does:\n"
                'key = TenantKey.from_environment(); return key.tenant("tenant-a"), key.tenant("tenant-b")',
            )
        )


def require_bound(session: Session, tables: Iterable[Table]) -> None:
    """Raise where no policy binds this login.

    Raises:
        ProvesNothing: it is a superuser, has BYPASSRLS, or acts as the owner of a table that does not force them.
    """
    login, is_super, bypasses = session.execute(_LOGIN).one()
    if is_super or bypasses:
        how = "is a superuser" if is_super else "has BYPASSRLS"
        raise ProvesNothing(
            said(
                f'this would prove nothing: the login "{login}" {how}, and no policy binds it',
                cure="let the fixture jobforge_engine log in as your application does in production:\n"
                "create role app login; grant jobforge_app to app; grant select, insert, ... on your tables to app;",
            )
        )
    for table in tables:
        name = name_of(session, table)
        found = session.execute(_TABLE, {"name": name}).one_or_none()
        if found is not None and found.enabled and not found.active:
            raise ProvesNothing(
                said(
                    f'this would prove nothing: "{login}" acts as the owner of {name}, whom its policies do not bind',
                    cure=f"alter table {name} force row level security;",
                )
            )


def diagnose(session: Session, tables: Iterable[Table]) -> tuple[str, str]:
    """Why these tables may show too much, and the SQL that cures it."""
    why, cure = [], []
    for table in tables:
        name = name_of(session, table)
        found = session.execute(_TABLE, {"name": name}).one_or_none()
        if found is None:
            continue
        if found.is_view:
            if not found.invoker:
                why.append(f"{name} is a view with the rights of {found.owner}, who made it: its policies count")
                cure.append(f"alter view {name} set (security_invoker = true);")
            continue
        policies = session.execute(_POLICIES, {"name": name}).all()
        why.append(_state(name, found.enabled, policies))
        cure.append(policy(name, table, [one.name for one in policies]))
    return "\n".join(why), "\n".join(cure)


def _state(name: str, enabled: bool, policies: Iterable[Row[Any]]) -> str:
    if not enabled:
        return f"row level security is not enabled on {name}"
    lines = [
        f"policy {one.name}{'' if one.permissive else ' (restrictive)'} for {one.command}"
        + (f" using ({one.shows})" if one.shows else "")
        + (f" with check ({one.takes})" if one.takes else "")
        for one in policies
    ]
    return "\n".join([f"what {name} has:", *(lines or ["no policy, so nobody may do anything"])])


def policy(name: str, table: Table, others: Iterable[str] = ()) -> str:
    """The policy to write for a table, instead of those that it has."""
    column = next((one for one in ("tenant_id", *table.c.keys()) if one in table.c and "tenant" in one), None)
    kind = table.c[column].type if column is not None else None
    cast = "::uuid" if isinstance(kind, Uuid) else "::bigint" if isinstance(kind, Integer) else ""
    rule = f"({column or 'tenant_id'} = (select jobforge.current_tenant()){cast})"
    return "\n".join(
        [
            *(f"drop policy {other} on {name};" for other in others),
            f"alter table {name} enable row level security;",
            f"alter table {name} force row level security;",
            f"create policy {table.name}_tenant on {name} using {rule} with check {rule};",
        ]
    )
