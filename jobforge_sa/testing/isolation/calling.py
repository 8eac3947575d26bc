"""What a call does: what it gives, what it changes, and whether it refuses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, Result, event, text
from sqlalchemy.engine import ScalarResult
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session
from sqlalchemy.orm.exc import StaleDataError

from jobforge_sa.db.failures import sqlstate
from jobforge_sa.errors import AccessDenied, ConfigurationError, JobNotFound, TenantError
from jobforge_sa.testing.isolation.relation import locked, named

REFUSALS = (AccessDenied, JobNotFound, TenantError, NoResultFound, PermissionError)
_STATES = {"42501", "P0001", "P0002"}  # no right, or a policy; `raise exception`; `select into strict` without a row

# of this transaction, by whichever function or trigger, and whatever the policies hide
_CHANGES = text(
    "select schemaname || '.' || relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_xact_user_tables "
    "where n_tup_ins + n_tup_upd + n_tup_del > 0 and schemaname !~ '^pg_temp'"
)


_DEFINER = text(
    "select coalesce(bool_or(p.prosecdef), false) from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
    "where p.proname = :name and case :schema when '' then pg_function_is_visible(p.oid) else n.nspname = :schema end"
)


@dataclass(frozen=True, slots=True)
class Deed:
    """What a call came to."""

    given: list[Any]  # what it gave, if anything
    changed: Counter[str]  # rows, by table and verb
    refusal: BaseException | None = None
    missed: StaleDataError | None = None  # an UPDATE of the ORM's that did not hit the row that was shown before
    touched: frozenset[int] = frozenset()  # tables and views
    written: frozenset[int] = frozenset()  # of these

    @property
    def is_nothing(self) -> bool:
        """Whether it might as well not have been called."""
        return not self.given and not self.changed and self.missed is None


class Call:
    """A function of the database, by its name, or of Python's, which takes a session first."""

    def __init__(self, function: str | Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        self._function, self._args, self._named = function, args, named
        self.name = function if isinstance(function, str) else getattr(function, "__qualname__", repr(function))
        if isinstance(function, str) and not all(re.fullmatch(r"[a-z_][\w$.]*", name) for name in (function, *named)):
            raise ConfigurationError(f"{function!r} is no name of a function", cure='write it as "schema.name"')

    def run(self, session: Session, raises: tuple[type[BaseException], ...], may_change: Iterable[str]) -> Deed:
        """Call it, and see what it came to."""
        before = _changes(session)
        with _touched(session) as touched:
            try:
                given = _given(self._call(session))
                session.flush()
            except Exception as error:
                if _refuses(error) or isinstance(error, raises):
                    return Deed([], Counter(), error)
                if isinstance(error, StaleDataError):
                    return Deed([], Counter(), missed=error, touched=frozenset(touched))
                raise
        allowed = {name.rpartition(".")[2] for name in may_change}
        changes = (_changes(session) - before).items()
        changed = Counter({one: number for one, number in changes if _table(one).rpartition(".")[2] not in allowed})
        written = named(session, {_table(one) for one in changed})
        return Deed(given, changed, touched=frozenset(touched | locked(session)), written=frozenset(written))

    def is_definer(self, session: Session) -> bool:
        """Whether it is a function of the database that has the rights of its owner."""
        if not isinstance(self._function, str):
            return False
        schema, _, name = self._function.rpartition(".")
        return bool(session.scalar(_DEFINER, {"schema": schema, "name": name}))

    def _call(self, session: Session) -> Any:
        if not isinstance(self._function, str):
            return self._function(session, *self._args, **self._named)
        values = {f"a{place}": value for place, value in enumerate(self._args)} | dict(self._named)
        binds = [f":a{place}" for place in range(len(self._args))] + [f"{name} => :{name}" for name in self._named]
        return session.execute(text(f"select * from {self._function}({', '.join(binds)})"), values)


def _refuses(error: Exception) -> bool:
    state = sqlstate(error) or ""
    return isinstance(error, REFUSALS) or state in _STATES or state.startswith("JF")


@contextmanager
def _touched(session: Session) -> Iterator[set[int]]:
    """What the session has touched before each flush: one that fails takes the locks that tell of it with it."""
    found: set[int] = set()

    def look(*_: object) -> None:
        found.update(locked(session))

    event.listen(session, "before_flush", look)
    try:
        yield found
    finally:
        event.remove(session, "before_flush", look)


def _table(change: str) -> str:
    return change.rpartition(" ")[2]


def _changes(session: Session) -> Counter[str]:
    found: Counter[str] = Counter()
    for table, *numbers in session.execute(_CHANGES):
        for verb, number in zip(("INSERT into", "UPDATE of", "DELETE from"), numbers, strict=True):
            found[f"{verb} {table}"] = number
    return found


def _given(value: Any) -> list[Any]:
    """What there is in an answer: rows of nothing but NULL, false, 0 and '' are none."""
    if isinstance(value, CursorResult) and not value.returns_rows:
        return [f"{value.rowcount} rows"] if value.rowcount > 0 else []
    if isinstance(value, Result):
        return [tuple(row) for row in value if any(row)]
    if isinstance(value, ScalarResult):
        value = value.all()
    if isinstance(value, list | tuple | set | frozenset):
        return [one for one in value if one]
    return [value] if value else []
