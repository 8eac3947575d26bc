"""The policies of a table: whether they bind this login at all, what they say, and what they should say."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Row, TableClause, text
from sqlalchemy.orm import Session

from jobforge_sa.tenant import SignedTenant, Tenant
from jobforge_sa.testing.isolation.relation import Relation, oid_of, relations
from jobforge_sa.testing.isolation.verdict import ProvesNothing, said

_LOGIN = text("select rolname, rolsuper, rolbypassrls from pg_roles where rolname = current_user")
_PARENTS = text(
    "select c.confrelid::bigint as oid, (select string_agg(format('one.%I = %s.%I', there.attname, "
    "cast(:name as text), here.attname), ' and ' order by n) "
    "from unnest(c.conkey, c.confkey) with ordinality as k(a, b, n) "
    "join pg_attribute here on here.attrelid = c.conrelid and here.attnum = k.a "
    "join pg_attribute there on there.attrelid = c.confrelid and there.attnum = k.b) as joined "
    "from pg_constraint c where c.conrelid = :oid and c.contype = 'f' and c.confrelid <> c.conrelid order by c.conname"
)
_TENANT = "(select jobforge.current_tenant())"


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


def require_bound(session: Session, tables: Iterable[TableClause]) -> None:
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
    oids = [oid for table in tables if (oid := oid_of(session, table)) is not None]
    for one in relations(session, oids):
        if one.enabled and not one.active:
            raise ProvesNothing(
                said(
                    f'this would prove nothing: "{login}" acts as the owner of {one.name}, '
                    "whom its policies do not bind",
                    cure=f"alter table {one.name} force row level security;",
                )
            )


def diagnose(
    session: Session,
    oids: Collection[int],
    *,
    sure: Collection[int] = (),
    written: Collection[int] = (),
    signed: bool = False,
) -> tuple[str, str]:
    """Why these tables and views may show or take too much, and the SQL that cures it.

    Args:
        session: Of the login that was shown too much.
        oids: All that took part; of these only what is open and can be a tenant's, other than a list of countries.
        sure: What rows went through, also if it looks closed.
        written: What was changed, if it is open.
        signed: Whether tenancy is.
    """
    found = relations(session, {*oids, *sure, *written}, signed=signed)
    why, cure = [], []
    for one in found:
        taken = one.oid in written or one.is_view or _known_rule(session, one) is not None
        if one.oid not in sure and not (taken and is_open(one)):
            continue
        if not one.is_view:
            why.append(_state(one))
            cure.append(policy(session, one))
        elif not one.invoker:
            why.append(f"{one.name} is a view with the rights of {one.owner}, who made it: its policies count")
            cure.append(_invoking(one))
    return "\n".join(why), "\n".join(cure)


def is_open(relation: Relation) -> bool:
    """Whether it may show or take rows of another tenant."""
    if relation.is_view:
        return not relation.invoker
    return not relation.active or bool(relation.loose(constants=True))


def _invoking(view: Relation) -> str:
    if view.kind == "m":
        return f"drop materialized view {view.name};  -- no policy can bind it: make it a view with security_invoker"
    return f"alter view {view.name} set (security_invoker = true);"


def _state(relation: Relation) -> str:
    if not relation.enabled:
        return f"row level security is not enabled on {relation.name}"
    lines = [str(one) for one in relation.policies]
    return "\n".join([f"what {relation.name} has:", *(lines or ["no policy, so nobody may do anything"])])


def policy(session: Session, relation: Relation) -> str:
    """The policy to write for a table, instead of those that it has."""
    wanted = rule(session, relation)
    return "\n".join(
        [
            *(f"drop policy {other.name} on {relation.name};" for other in relation.policies),
            f"alter table {relation.name} enable row level security;",
            f"alter table {relation.name} force row level security;",
            f"create policy {relation.short}_tenant on {relation.name} using ({wanted}) with check ({wanted});",
        ]
    )


def rule(session: Session, relation: Relation) -> str:
    """The condition that a row is the asking tenant's: by its own column, else by the row that it refers to."""
    return _known_rule(session, relation) or _is_tenants("tenant_id", "text")


def _known_rule(session: Session, relation: Relation) -> str | None:
    if relation.tenant is not None:
        return _is_tenants(relation.tenant, relation.columns[relation.tenant])
    parents: list[Row[Any]] = [*session.execute(_PARENTS, {"oid": relation.oid, "name": relation.name})]
    joins = {one.oid: one.joined for one in parents}
    found = relations(session, list(joins))
    for one in sorted(found, key=lambda one: (one.tenant is None, not one.active)):
        if one.tenant is not None:
            is_tenants = _is_tenants(one.tenant, one.columns[one.tenant], "one.")
            return f"exists (select from {one.name} one where {joins[one.oid]} and {is_tenants})"
        if one.active:  # by its own policies
            return f"exists (select from {one.name} one where {joins[one.oid]})"
    return None


def _is_tenants(column: str, kind: str, of: str = "") -> str:
    cast = "::uuid" if kind == "uuid" else "::bigint" if kind in ("smallint", "integer", "bigint") else ""
    quoted = column if column.isidentifier() and column.islower() else f'"{column}"'
    return f"{of}{quoted} = {_TENANT}{cast}"
