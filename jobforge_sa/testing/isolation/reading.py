"""What a statement shows: to each of two tenants, to a connection without one, and where the tenant is empty."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, CompoundSelect, Select, Table, TableClause, TextClause, inspect, select
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.orm import Mapper, Session
from sqlalchemy.sql import visitors

from jobforge_sa.db import tenant as settings
from jobforge_sa.db.failures import sqlstate
from jobforge_sa.tenant import Tenant, name_of
from jobforge_sa.testing.isolation.relation import locked
from jobforge_sa.testing.isolation.sessions import Sessions
from jobforge_sa.testing.isolation.verdict import NotIsolated, ProvesNothing, counted

Rows = Counter[str]  # by what they say, for not every value can be hashed
Statement: TypeAlias = "Select[Any] | CompoundSelect[Any] | TextClause"
Look = dict[str, Rows]  # by who looks

_LIE = ", whose SQL sets jobforge.tenant_id and request.jwt.claims to the other's,"
NOBODY = ("a connection that never had a tenant", "a transaction with an empty tenant")


class Target:
    """What is to be isolated: a mapped class, by the keys of its rows, or any select, union or text()."""

    def __init__(self, target: type[Any] | Statement) -> None:
        self.written: list[Table] = []  # of a class, and of those that it is joined to as their subclass
        self.keys: Sequence[ColumnElement[Any]] = ()
        self.statement: Statement
        if not isinstance(target, type):
            self.name, self.statement = "the select", target
        else:
            mapper: Mapper[Any] = inspect(target)
            self.name, self.keys = target.__name__, mapper.primary_key
            self.statement = select(*self.keys).select_from(target)
            lineage = [one.local_table for one in mapper.iterate_to_root()]
            self.written = [one for one in dict.fromkeys(lineage) if isinstance(one, Table)]
        found = visitors.iterate(self.statement)
        tables: dict[str, TableClause] = {one.fullname: one for one in found if isinstance(one, TableClause)}
        self.tables = list((tables | {one.fullname: one for one in self.written}).values())


def who(tenant: Tenant) -> str:
    """A tenant in a sentence."""
    return f"tenant {name_of(tenant)!r}"


def who_injects(tenant: Tenant) -> str:
    """The same, when SQL that was injected names the other tenant by all that is not signed."""
    return f"{who(tenant)}{_LIE}"


def look(sessions: Sessions, target: Target, tenants: Sequence[Tenant], *, signed: bool = False) -> Look:
    """Run the statement as everybody; where tenancy is signed, also as each tenant that lies about itself."""
    seen: Look = {}
    for tenant, other in zip(tenants, reversed(tenants), strict=True):
        with sessions.of(tenant) as session:
            seen[who(tenant)] = rows(session, target)
        if signed:
            with sessions.injected(tenant, other) as session:
                seen[who_injects(tenant)] = _rows_of_nobody(session, target)
    with sessions.untouched() as others, others.of(None) as session:
        seen[NOBODY[0]] = _rows_of_nobody(session, target)
    with sessions.of(None) as session:
        session.execute(settings.set_tenant(""), settings.binds(""))
        seen[NOBODY[1]] = _rows_of_nobody(session, target)
    return seen


def rows(session: Session, target: Target) -> Rows:
    """The rows of the target, by what they say."""
    try:
        found: Sequence[Any] = session.execute(target.statement).all()
    except InvalidRequestError:  # joined eager loads of a collection must be made unique, nothing else may be
        found = session.execute(target.statement).unique().all()
    if target.keys:
        names = [getattr(key, "name", "key") for key in target.keys]
        return Counter(", ".join(f"{name}={value!r}" for name, value in zip(names, row, strict=True)) for row in found)
    return Counter(", ".join(_said(value) for value in row) for row in found)


def touched(session: Session, target: Target) -> set[int]:
    """The tables and views that the statement reads, through whichever view or function."""
    _rows_of_nobody(session, target)
    return locked(session)


def _said(value: object) -> str:
    state = inspect(value, raiseerr=False)
    identity = getattr(state, "identity", None)
    return f"{type(value).__name__} {identity}" if identity is not None else repr(value)


def _rows_of_nobody(session: Session, target: Target) -> Rows:
    try:
        return rows(session, target)
    except DBAPIError as error:
        # an error is as closed as no rows: '' is no uuid, there is no such setting, a function demands a tenant
        if (state := sqlstate(error) or "")[:2] in ("22", "JF") or state in ("42501", "42704"):
            return Counter()
        raise


def judge_rows(target: Target, seen: Look, tenants: Sequence[Tenant]) -> None:
    """Judge what everybody sees.

    Raises:
        ProvesNothing: a tenant has no rows. NotIsolated: two see the same row, or nobody sees any.
    """
    for tenant in tenants:
        if not seen[who(tenant)]:
            raise ProvesNothing(
                f"this would prove nothing: {target.name} shows no rows to {who(tenant)}\n"
                "  cure: commit rows of both tenants first, or pass make=lambda tenant: Model(tenant_id=tenant, ...)"
            )
    one, other = map(who, tenants)
    if shared := seen[one] & seen[other]:
        raise NotIsolated(
            f"{target.name} is not isolated: {one} and {other} are both shown {_some(shared)}"
            + ("" if target.keys else "\n  (rows that are alike by nature, such as counts, need make=)")
        )
    for tenant, victim in zip(tenants, reversed(tenants), strict=True):
        if shown := seen.get(who_injects(tenant), Counter()) & seen[who(victim)]:
            raise NotIsolated(f"{target.name} is not isolated: {who_injects(tenant)} is shown {_some(shown)}")
    for nobody in NOBODY:
        if seen[nobody]:
            raise NotIsolated(f"{target.name} is not isolated: {nobody} is shown {_some(seen[nobody])}")


def judge_growth(target: Target, before: Look, after: Look, tenant: Tenant) -> None:
    """Judge what changed, and for whom, when the tenant got rows: for the tenant alone.

    This holds for every select, also for counts and sums, and finds what no policy can stop: views and functions
    that run with the rights of their owners.

    Raises:
        ProvesNothing: the tenant itself does not see them. NotIsolated: somebody else does.
    """
    owner = who(tenant)
    for one in after:
        if one in (owner, who_injects(tenant)) or before[one] == after[one]:
            continue
        shown = after[one] - before[one]
        # who lies gets an error as soon as there is a row, and so no rows where a sum was NULL
        if not one.endswith(_LIE):
            shown = shown or before[one] - after[one]
        if shown:
            raise NotIsolated(f"{target.name} is not isolated: of a new row of {owner}, {one} is shown {_some(shown)}")
    if before[owner] == after[owner]:
        raise ProvesNothing(
            f"this would prove nothing: what make({name_of(tenant)!r}) stored, {target.name} does not show to {owner}"
        )


def _some(shown: Rows) -> str:
    first = min(shown)
    return f"{counted(shown.total())}, the first: {first[:200]}"
