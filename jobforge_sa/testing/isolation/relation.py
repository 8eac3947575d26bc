"""What the catalog says of a table or a view: who owns it, what binds this login in it, what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import FromClause, bindparam, text
from sqlalchemy.orm import Session

from jobforge_sa.testing.isolation.rule import is_bound

_RELATIONS = text(
    "select c.oid, c.oid::regclass::text as name, regexp_replace(c.relname, '\\W', '_', 'g') as short, "
    "c.relkind::text as kind, "
    "c.relrowsecurity as enabled, row_security_active(c.oid) as active, "
    "quote_ident(pg_get_userbyid(c.relowner)) as owner, "
    "pg_has_role(c.relowner, 'MEMBER') as owned, coalesce((select option_value::bool from "
    "pg_options_to_table(c.reloptions) where option_name = 'security_invoker'), false) as invoker, "
    "(select coalesce(json_object_agg(a.attname, a.atttypid::regtype::text), '{}') from pg_attribute a "
    "where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped) as columns "
    "from pg_class c where c.oid = any(cast(:oids as oid[])) order by 2"
)
_POLICIES = text(
    "select quote_ident(p.polname) as name, p.polpermissive as permissive, "
    "case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete' "
    "else 'all' end as command, "
    "pg_get_expr(p.polqual, p.polrelid) as shows, pg_get_expr(p.polwithcheck, p.polrelid) as takes, "
    "exists (select from pg_depend d where d.classid = 'pg_policy'::regclass and d.objid = p.oid "
    "and d.refclassid = 'pg_class'::regclass and d.refobjid <> p.polrelid "
    "and row_security_active(d.refobjid)) as leans "
    "from pg_policy p where p.polrelid = :oid and exists (select from unnest(p.polroles) as r(oid) "
    "where case r.oid when 0 then true else pg_has_role(r.oid, 'USAGE') end) order by p.polname"
)
_REGCLASS = text("select to_regclass(:name)::oid")
_NAMED = text(
    "select c.oid from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where n.nspname || '.' || c.relname in :names"
).bindparams(bindparam("names", expanding=True))
# held to the end of the transaction for whatever was read or written, by whichever view or function
_LOCKED = text(
    "select distinct l.relation::oid from pg_locks l join pg_class c on c.oid = l.relation "
    "join pg_namespace n on n.oid = c.relnamespace where l.pid = pg_backend_pid() and l.locktype = 'relation' "
    "and l.database = (select oid from pg_database where datname = current_database()) "
    "and c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname not in ('information_schema', 'jobforge') "
    "and n.nspname !~ '^pg_'"
)
COMMANDS = ("select", "insert", "update", "delete")


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that binds this login."""

    name: str
    permissive: bool
    command: str
    shows: str | None
    takes: str | None
    leans: bool  # on another table, whose policies bind this login

    def __str__(self) -> str:
        return (
            f"policy {self.name}{'' if self.permissive else ' (restrictive)'} for {self.command}"
            + (f" using ({self.shows})" if self.shows else "")
            + (f" with check ({self.takes})" if self.takes else "")
        )

    def rules(self, command: str) -> list[str]:
        """What it asks of the rows of a command: of the old ones, and of the new."""
        if self.command not in (command, "all"):
            return []
        takes = self.takes if self.takes is not None else self.shows
        found = {"insert": [takes], "update": [self.shows, takes]}.get(command, [self.shows])
        return [one for one in found if one is not None]


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view, as this login meets it."""

    oid: int
    name: str  # as SQL names it
    short: str
    kind: str
    enabled: bool
    active: bool  # policies bind this login
    owner: str
    owned: bool  # by this login, or by a role that it can become
    invoker: bool
    columns: dict[str, str]  # their types
    policies: tuple[Policy, ...]
    signed: bool  # tenancy is: no policy may believe a setting

    @property
    def is_view(self) -> bool:
        """Whether other tables' policies decide."""
        return self.kind in ("v", "m")

    @property
    def tenant(self) -> str | None:
        """The column that names the tenant."""
        if "tenant_id" in self.columns:
            return "tenant_id"
        return next((one for one in self.columns if "tenant" in one.lower()), None)

    def loose(self, *, constants: bool) -> list[Policy]:
        """The policies that let through rows by another rule than the tenant's, where no restrictive one stands by.

        Args:
            constants: Also `true`, which every row meets: whoever tries a row finds that out without being told.
        """
        return [
            one for one in self.policies if one.permissive and any(self._is_loose(one, c, constants) for c in COMMANDS)
        ]

    def _is_loose(self, policy: Policy, command: str, constants: bool) -> bool:
        walls = [one for one in self.policies if not one.permissive]
        if any(rules and all(map(self._binds(wall), rules)) for wall in walls if (rules := wall.rules(command))):
            return False
        rules = [one for one in policy.rules(command) if constants or one != "true"]
        return not all(map(self._binds(policy), rules))

    def _binds(self, policy: Policy) -> Callable[[str], bool]:
        return lambda rule: is_bound(rule, self.columns, leans=policy.leans, signed=self.signed)


def oid_of(session: Session, table: FromClause) -> int | None:
    """The relation that a Table means in this database, if there is one."""
    name = session.connection().dialect.identifier_preparer.format_table(table)
    found: int | None = session.scalar(_REGCLASS, {"name": name})
    return found


def named(session: Session, names: Collection[str]) -> set[int]:
    """The relations of these names, each with its schema."""
    return set(session.scalars(_NAMED, {"names": [*names]})) if names else set()


def locked(session: Session) -> set[int]:
    """What the transaction has touched so far, other than the queue's own tables."""
    return set(session.scalars(_LOCKED))


def relations(session: Session, oids: Collection[int], *, signed: bool = False) -> list[Relation]:
    """What the catalog says of these, by their names."""
    found = []
    for row in session.execute(_RELATIONS, {"oids": [*oids]}).all():
        policies = tuple(Policy(**one._mapping) for one in session.execute(_POLICIES, {"oid": row.oid}))
        found.append(Relation(**row._mapping, policies=policies, signed=signed))
    return found
