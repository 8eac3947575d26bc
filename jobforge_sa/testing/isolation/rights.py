"""What a login can do past the policies of a table: own it, empty it, read its partitions, meet another policy."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from jobforge_sa.testing.isolation import policy
from jobforge_sa.testing.isolation.relation import Policy, Relation, relations
from jobforge_sa.testing.isolation.verdict import NotIsolated, said

# TRUNCATE asks no policy, and a trigger runs with the rights of whoever writes next. An owner has both, and is
# judged as an owner.
_RIGHTS = text(
    "select quote_ident(current_user) as login, c.relnamespace::regnamespace::text as schema, "
    "has_schema_privilege(c.relnamespace, 'USAGE') "
    "and (has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE') "
    "or has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')) as reachable, "
    "array(select distinct lower(privilege_type) || ' ' || g.name from aclexplode(c.relacl) a, lateral "
    "(select case a.grantee when 0 then 'public' else quote_ident(pg_get_userbyid(a.grantee)) end as name) g "
    "where a.privilege_type in ('TRUNCATE', 'TRIGGER') and a.grantee <> c.relowner "
    "and case a.grantee when 0 then true else pg_has_role(a.grantee, 'MEMBER') end) as past "
    "from pg_class c where c.oid = :oid"
)
# partitions and children, of them too, and what the table itself is one of; below a view what it reads
_FAMILY = text(
    "with recursive below(oid) as (select inhrelid from pg_inherits where inhparent = :oid "
    "union select i.inhrelid from below b join pg_inherits i on i.inhparent = b.oid), "
    "above(oid) as (select inhparent from pg_inherits where inhrelid = :oid "
    "union select i.inhparent from above a join pg_inherits i on i.inhrelid = a.oid), "
    "read(oid) as (select d.refobjid from pg_rewrite r join pg_depend d on d.classid = 'pg_rewrite'::regclass "
    "and d.objid = r.oid and d.refclassid = 'pg_class'::regclass where r.ev_class = :oid and d.refobjid <> :oid "
    "union select d.refobjid from read b join pg_rewrite r on r.ev_class = b.oid join pg_depend d "
    "on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid and d.refclassid = 'pg_class'::regclass "
    "where d.refobjid <> b.oid) "
    "select oid::bigint, 'a partition or child' from below union select oid::bigint, 'a parent' from above "
    "union select oid::bigint, 'a table' from read"
)


_BELOW = "a partition or child"


def judge_rights(session: Session, name: str, oid: int, *, signed: bool, meant: Collection[str]) -> None:
    """Judge what no row of a test meets.

    Args:
        session: Of the login.
        name: What is to be isolated, for the message.
        oid: Its table.
        signed: Whether tenancy is. Then the login is who may have SQL injected, and must not own the table.
        meant: The policies that may show or take what they do.

    Raises:
        NotIsolated: with why, and the cure.
    """
    (table,) = relations(session, [oid], signed=signed)
    kinds: dict[int, str] = {row[0]: row[1] for row in session.execute(_FAMILY, {"oid": oid})}
    others = [
        one
        for one in relations(session, kinds, signed=signed)
        if one.kind in "rpf" and (kinds[one.oid] != "a table" or _is_behind(table, one))
    ]
    for one in others:
        _judge_other(session, name, table, one, kinds[one.oid], meant)
    for one in (table, *others):
        _judge_past(session, name, one, signed=signed)
    if odd := _not_meant(table.loose(constants=False), meant):
        raise NotIsolated(_loose(session, name, table, odd))


def _not_meant(policies: list[Policy], meant: Collection[str]) -> list[Policy]:
    return [one for one in policies if one.name.strip('"') not in meant]


def _is_behind(view: Relation, one: Relation) -> bool:
    """Whether the view's rows are this table's: it also joins what all tenants share."""
    return one.tenant is not None and view.tenant in (None, one.tenant)


def _judge_other(
    session: Session, name: str, table: Relation, one: Relation, kind: str, meant: Collection[str]
) -> None:
    """A partition is asked by its own name without the policies of its parent, and a table without its view's WHERE."""
    rights = _rights(session, one)
    loose = _not_meant(one.loose(constants=True), meant)
    if not rights.reachable or (one.active and not loose):
        return
    cure = f"alter table {one.name} enable row level security, force row level security;"
    if kind != _BELOW or one.policies:
        cure = policy.policy(session, one)
    elif one.kind == "f":
        cure = f"revoke all on {one.name} from {rights.login};"
    raise NotIsolated(
        said(
            f"{name} is not isolated: the login {rights.login} may use {one.name}, {kind} of {table.name}, "
            "by its own name",
            why=f"there the policies of {table.name} do not count, and "
            + (f"{one.name} has others: {loose[0]}" if one.active else f"{one.name} has none that bind"),
            cure=cure,
        )
    )


def _judge_past(session: Session, name: str, one: Relation, *, signed: bool) -> None:
    rights = _rights(session, one)
    if one.owned and signed and not one.is_view:
        raise NotIsolated(_owned(name, one, rights))
    if not rights.past or one.owned:
        return
    held = sorted({right.partition(" ")[0] for right in rights.past}, reverse=True)
    names = " and ".join(map(str.upper, held))
    holders = ", ".join(sorted({right.partition(" ")[2] for right in rights.past}))
    does = {"truncate": "TRUNCATE empties it for all tenants", "trigger": "a trigger runs in other tenants' writes"}
    raise NotIsolated(
        said(
            f"{name} is not isolated: the login {rights.login} holds {names} on {one.name}",
            why=f"policies bind neither, and {'; '.join(does[one] for one in held)}",
            cure=f"revoke truncate, trigger on {one.name} from {holders};",
        )
    )


def _owned(name: str, one: Relation, rights: Row[Any]) -> str:
    login, owner = rights.login, f"{one.short}_owner"
    member = one.owner != login
    return said(
        f"{name} is not isolated: the login {login} owns {one.name}"
        + (f", as a member of {one.owner}" if member else ""),
        why="tenancy is signed because SQL may be injected, and SQL of the owner drops the policies",
        cure=f"revoke {one.owner} from {login};"
        if member
        else f"create role {owner} nologin;\n"
        f"grant usage on schema {rights.schema} to {owner};\n"
        f"alter table {one.name} owner to {owner};\n"
        f"grant select, insert, update, delete on {one.name} to {login};\n"
        f"grant usage on all sequences in schema {rights.schema} to {login};",
    )


def _loose(session: Session, name: str, table: Relation, policies: list[Policy]) -> str:
    rule = policy.rule(session, table)
    cures = [
        f"alter policy {one.name} on {table.name}"
        + (f" using (({rule}) and {one.shows})" if one.shows else "")
        + (f" with check (({rule}) and {one.takes})" if one.takes else "")
        + ";"
        for one in policies
    ]
    names = ", ".join(one.name for one in policies)
    return said(
        f"{name} is not isolated: {names} on {table.name} lets through rows by another rule than their tenant, "
        "and no row of this test met it",
        why="\n".join(
            [*map(str, policies), "what permits is OR-ed: a row that meets it is shown to, or taken from, all"]
        ),
        cure="\n".join(
            [*cures, f"-- or, if it is meant: assert_isolated(..., meant_policies={[p.name for p in policies]!r})"]
        ),
    )


def _rights(session: Session, relation: Relation) -> Row[Any]:
    return session.execute(_RIGHTS, {"oid": relation.oid}).one()
