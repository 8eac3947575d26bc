"""What a tenant can do to a table's rows of another one: insert, change, give away, delete. All of it is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa.db import tenant as settings
from jobforge_sa.db.failures import sqlstate
from jobforge_sa.tenant import Tenant, named
from jobforge_sa.tenant import name_of as tenant_id
from jobforge_sa.testing.isolation.reading import who
from jobforge_sa.testing.isolation.sessions import Sessions, inject
from jobforge_sa.testing.isolation.verdict import NotIsolated, ProvesNothing, counted

Values = dict[str, Any]  # a row, by the names of its columns

# 42501: a policy or a missing right; P0001: a trigger; 55000, 0A000, 428C9: a view or a column that takes no writes;
# 44000: a view WITH CHECK OPTION
_REFUSED = {"42501", "P0001", "55000", "0A000", "428C9", "44000"}
_PAST = -1  # rows hit: unknown, but more than none
_KIND = sa.text(
    "select relkind in ('r', 'p') as is_table, pg_relation_is_updatable(oid, true) <> 0 as takes_writes, "
    "has_table_privilege(oid, 'SELECT') as may_read_all, "
    "array_to_string(reloptions, ' ') ~ 'check_option=[lc]' as checks "
    "from pg_class where oid = to_regclass(:name)"
)
_WRITABLE = sa.text(
    "select attname from pg_attribute where attrelid = to_regclass(:name) and attnum > 0 and not attisdropped "
    "and pg_column_is_updatable(attrelid, attnum, true)"
)
_NO_CLAIMS = sa.text("select set_config('request.jwt.claims', '', true)")
_MAY_UPDATE = sa.text(
    "select attname from pg_attribute where attrelid = to_regclass(:name) and attnum > 0 and not attisdropped "
    "and attgenerated = '' and attidentity <> 'a' and has_column_privilege(attrelid, attnum, 'UPDATE')"
)


class Attack:
    """One tenant against another's rows of one table.

    Updates and deletes go without a WHERE, and inserts without RETURNING: whatever reads a column has the policies
    for SELECT applied too, which would hide that those for INSERT, UPDATE or DELETE are open.
    """

    def __init__(
        self, sessions: Sessions, name: str, table: sa.Table, tenants: tuple[Tenant, Tenant], *, signed: bool = False
    ) -> None:
        self._sessions, self._name, self._table, self._signed = sessions, name, table, signed
        self._me, self._other = tenants
        # bare: of the mapped table an UPDATE may set more columns (onupdate), and those may be refused
        columns: Sequence[sa.ColumnClause[Any]] = [sa.column(c.name, c.type) for c in table.c]
        self._bare = sa.table(table.name, *columns, schema=table.schema)
        with sessions.of(self._other) as session:
            self._theirs = _one(session, table)
        with sessions.of(self._me) as session:
            self._mine = _one(session, table)
            named_so = {"name": session.connection().dialect.identifier_preparer.format_table(table)}
            is_table, self._takes_writes, may_read_all, checks = session.execute(_KIND, named_so).one()
            self._checked_late = bool(checks)  # WITH CHECK OPTION, which is looked at after the constraints
            self._has_xmin = is_table and may_read_all  # and a view has none
            self._writable = set(session.scalars(_WRITABLE, named_so))
            self._may_update = set(session.scalars(_MAY_UPDATE, named_so)) & self._writable
        self._tenant = next((c for c in table.c if self._tells(c)), None)  # the column that names the tenant

    def run(self) -> None:
        """Try everything.

        Raises:
            NotIsolated: something went through.
        """
        if not self._takes_writes:
            return
        with self._sessions.of(self._me) as session:
            seen = self._count(session, self._me)
            self._insert(session)
            self._update(session, seen)
            self._give(session)
            self._delete(session, seen)
            if self._signed:
                self._lie(session)

    def _hit(
        self, session: Session, statement: sa.Insert | sa.Update | sa.Delete, count: Callable[[], int] | None = None
    ) -> int:
        hit = _hit(session, statement, count)
        return 0 if hit == _PAST and self._checked_late else hit

    def _tells(self, column: sa.Column[Any]) -> bool:
        values = (str(self._mine[column.name]), str(self._theirs[column.name]))
        return values == (tenant_id(self._me), tenant_id(self._other))

    def _insert(self, session: Session) -> None:
        before = self._count(session, self._other)
        _become(session, self._me)

        def more() -> int:  # for the other, and not only stored: a trigger may have made it the tenant's own
            return self._count(session, self._other) - before

        hit = self._hit(session, self._new(), more)
        _become(session, self._me)
        if hit:
            self._leak(f"can insert a row for {who(self._other)}, such as {self._key(self._theirs)}")

    def _count(self, session: Session, tenant: Tenant) -> int:
        _become(session, tenant)
        return session.scalar(sa.select(sa.func.count()).select_from(self._table)) or 0

    def _new(self) -> sa.Insert:
        """A row for the other."""
        values = {
            c.name: self._theirs[c.name] for c in self._table.c if c.name in self._writable and not _made_by_default(c)
        }
        return sa.insert(self._table).values(values).inline()

    def _settable(self) -> list[str]:
        """The columns that may be updated with a value of another row."""
        return [c.name for c in self._table.c if c.name in self._may_update and not (c.primary_key or c.unique)]

    def _lie(self, session: Session) -> None:
        """Name the other tenant by all that is not signed, and try again: nothing of the other's may change."""
        tries: list[tuple[str, sa.Insert | sa.Update | sa.Delete]] = [
            ("insert a row for", self._new()),
            ("DELETE a row of", sa.delete(self._bare)),
            # each column by itself: to write the tenant's own name may be refused where another column is open
            *(("UPDATE a row of", self._set(name, self._mine[name])) for name in self._settable()),
        ]
        before = self._state(session)

        def changed() -> int:
            return int(self._state(session) != before)

        for verb, statement in tries:
            _become(session, self._me)
            inject(session, self._other)
            hit = self._hit(session, statement, changed)
            if hit == 1 or (hit == _PAST and isinstance(statement, sa.Insert)):
                how = "by SQL that sets jobforge.tenant_id and request.jwt.claims"
                self._leak(f"can {verb} {who(self._other)} {how}, such as {self._key(self._theirs)}")
        _become(session, self._me)

    def _state(self, session: Session) -> list[str]:
        """The other's rows, and who wrote them last, where that may be read."""
        _become(session, self._other)
        columns = [*self._table.c, *([sa.literal_column("xmin::text")] if self._has_xmin else [])]
        statement = sa.select(*columns).select_from(self._table)
        return sorted(repr(tuple(row)) for row in session.execute(statement))

    def _update(self, session: Session, seen: int) -> None:
        column = self._tenant.name if self._tenant is not None and self._tenant.name in self._may_update else None
        chosen = column or next(iter(self._settable()), None)
        if chosen is None:
            return
        hit = self._hit(session, self._set(chosen, self._mine[chosen]))
        if hit > seen or (hit == _PAST and chosen == column):  # its own rows cannot clash: they have that value
            self._leak(f"sees {counted(seen)}, and its UPDATE without a WHERE hits {'more' if hit < 0 else hit}")
        hit = self._hit(session, self._set(chosen, self._mine[chosen]).where(self._is_theirs()))
        if hit:
            self._leak(f"can UPDATE a row of {who(self._other)}: {self._key(self._theirs)}")

    def _give(self, session: Session) -> None:
        """Make its own rows the other's: by the tenant's name, or by whatever else decides whose they are."""
        if self._tenant is not None and self._hit(
            session, self._set(self._tenant.name, self._theirs[self._tenant.name])
        ):
            self._leak(f"can make its rows {who(self._other)}'s by an UPDATE, such as {self._key(self._mine)}")
        before = self._count(session, self._other)
        _become(session, self._me)

        def more() -> int:
            return self._count(session, self._other) - before

        for names in self._gifts():
            values = {name: self._theirs[name] for name in names}
            hit = self._hit(session, sa.update(self._bare).values(values), more)
            _become(session, self._me)
            # a clash says that the policies agreed; where another column names the tenant, they may well agree
            if hit > 0 or (hit == _PAST and self._tenant is None and all(self._refers(name) for name in names)):
                by = f"an UPDATE of {', '.join(names)}"
                self._leak(f"can make its rows {who(self._other)}'s by {by}, such as {self._key(self._mine)}")

    def _gifts(self) -> list[list[str]]:
        """The columns to set to what the other's row has: each that differs, and the foreign keys of several."""
        differ = [
            c.name
            for c in self._table.c
            if c.name in self._may_update and repr(self._mine[c.name]) != repr(self._theirs[c.name])
        ]
        several = [[c.name for c in one.columns] for one in self._table.foreign_key_constraints if len(one.columns) > 1]
        return [*([name] for name in differ), *(names for names in several if self._may_update.issuperset(names))]

    def _refers(self, name: str) -> bool:
        return bool(self._table.c[name].foreign_keys)

    def _delete(self, session: Session, seen: int) -> None:
        hit = self._hit(session, sa.delete(self._bare))
        if hit > seen:
            self._leak(f"sees {counted(seen)}, and its DELETE without a WHERE hits {hit}")
        if self._hit(session, sa.delete(self._bare).where(self._is_theirs())):
            self._leak(f"can DELETE a row of {who(self._other)}: {self._key(self._theirs)}")

    def _set(self, name: str, value: object) -> sa.Update:
        return sa.update(self._bare).values({name: value})

    def _is_theirs(self) -> sa.ColumnElement[bool]:
        return sa.and_(*(self._bare.c[c.name] == self._theirs[c.name] for c in self._table.primary_key))

    def _key(self, row: Values) -> str:
        return ", ".join(f"{c.name}={row[c.name]!r}" for c in self._table.primary_key)

    def _leak(self, what: str) -> None:
        raise NotIsolated(f"{self._name} is not isolated: {who(self._me)} {what}")


def _become(session: Session, tenant: Tenant) -> None:
    session.execute(settings.set_tenant(named(tenant)), settings.binds(named(tenant)))
    session.execute(_NO_CLAIMS)


def _one(session: Session, table: sa.Table) -> Values:
    row = session.execute(sa.select(table).limit(1)).one()
    return {column.name: value for column, value in zip(table.c, row, strict=True)}


def _made_by_default(column: sa.Column[Any]) -> bool:
    """Whether the database or the mapping makes a value: a key of its own, so that no other row is in the way."""
    if column.computed is not None or (column.identity is not None and column.identity.always):
        return True
    made = column.default is not None or column.server_default is not None
    return column.primary_key and (made or column is column.table.autoincrement_column)


@contextmanager
def _undone(session: Session) -> Iterator[None]:
    savepoint = session.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


def _hit(session: Session, statement: sa.Insert | sa.Update | sa.Delete, count: Callable[[], int] | None = None) -> int:
    """How many rows it would hit, or what `count` says then: none where it is refused."""
    try:
        with _undone(session):
            result: Any = session.execute(statement)
            return count() if count is not None else int(result.rowcount)
    except DBAPIError as error:
        state = sqlstate(error) or ""
        if state in _REFUSED or state.startswith("JF"):
            return 0
        if state.startswith("23"):  # policies are looked at before constraints
            return _PAST
        if state == "55P03":
            raise ProvesNothing(
                f"a transaction that is still open holds rows of {statement.table}\n"
                "  cure: end the test's own transaction before this assertion"
            ) from error
        raise
