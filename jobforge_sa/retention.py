"""How long what has ended is kept, for administrators; in the caller's own transaction."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jobforge_sa.admin import AdminCalls
from jobforge_sa.db import calls
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tasks import Task

BATCH = 1000
LONGEST = dt.timedelta(days=36_500)
MOST = 1_000_000_000

Kind: TypeAlias = Literal["succeeded", "dead", "canceled", "result", "idempotency_key"]


@dataclass(frozen=True, slots=True)
class Kept:
    """How long a kind is kept: of one type, or (None) of every type of which nothing else is said."""

    kind: str
    type: str | None
    keep: dt.timedelta | None  # None: for ever
    newest: int | None = None  # beside it, so many of each type; None: any number


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a call of `Retention.prune` has deleted, and whether there may be more."""

    jobs: int
    results: int
    idempotency_keys: int
    more: bool


class Retention(AdminCalls):
    """What is kept of a database's jobs after their end, and for how long. Never commits. Every worker's upkeep prunes.

    At first succeeded and canceled jobs are kept for 7 days and dead ones for 90, from their end; results as long as
    their job; idempotency keys for 90 days from their job's enqueue, and always until it has ended.

    Every method may raise what those of `Tenants` do.

    Example:
        >>> with Session(engine) as session, session.begin():
        ...     Retention(session).set("succeeded", dt.timedelta(hours=1), type=ping)
    """

    def list(self) -> Sequence[Kept]:
        """What holds: the kinds, then the types that differ."""
        return [_kept(row) for row in self._rows(calls.LIST_RETENTION)]

    def set(
        self, kind: Kind | str, keep: dt.timedelta | None, *,
        type: str | Task[Any, Any] | None = None, newest: int | None = None,  # noqa: A002 - the contract's word
    ) -> Kept:  # fmt: skip
        """Keep a kind for so long, 0 to 100 years; None: for ever (a result: as long as its job).

        Holds for what is there already, too, from the next minute on.

        Args:
            kind: What is kept.
            keep: For so long.
            type: Of this task only.
            newest: Of succeeded, dead or canceled jobs no more than so many of each type, of all tenants together; what
                is too many goes earlier, the oldest first. None: any number.
        """
        if keep is not None and not isinstance(keep, dt.timedelta):
            raise ConfigurationError(f"keep is a {_called(keep)}", cure="pass a timedelta, or None: for ever")
        if keep is not None and not dt.timedelta(0) <= keep <= LONGEST:
            raise ConfigurationError(
                f"{kind} can be kept for 0 to {LONGEST.days:,} days, not for {keep}", cure="for ever is None"
            )
        given: object = newest
        if newest is not None and (not isinstance(given, int) or not 1 <= given <= MOST):
            raise ConfigurationError(
                f"{newest!r} is no number of jobs to keep", cure="pass 1 or more; any number is None"
            )
        (row,) = self._rows(calls.SET_RETENTION, kind=kind, keep=keep, type=_name(type), newest=newest)
        return _kept(row)

    def drop(self, kind: Kind | str, type: str | Task[Any, Any]) -> bool:  # noqa: A002 - the contract's word
        """Keep a type's as long as everybody's again. Gives whether something else was said of it."""
        return bool(self._rows(calls.DROP_RETENTION, kind=kind, type=_name(type)))

    def prune(self, limit: int = BATCH, *, anew: bool = False) -> Pruned:
        """Delete up to `limit` of each kind that were kept for long enough, in a transaction at READ COMMITTED.

        For who cannot wait for the workers: `anew` at first, then without as long as there is more.
        """
        given: object = limit
        if not isinstance(given, int) or not 1 <= given <= 100_000:
            raise ConfigurationError(f"a batch is 1 to 100,000 jobs, not {limit!r}", cure="leave the limit out")
        rows = self._rows(calls.PRUNE, limit=limit, anew=anew)
        counts = {row.kind: row.pruned for row in rows}
        return Pruned(**counts, more=any(row.more for row in rows))


def _name(type_: str | Task[Any, Any] | None) -> str | None:
    if not isinstance(type_, str | Task | None):
        raise ConfigurationError(f"type is a {_called(type_)}", cure="pass a task, or its name")
    return type_.name if isinstance(type_, Task) else type_


def _called(value: object) -> str:
    return type(value).__name__


def _kept(row: Any) -> Kept:
    return Kept(row.kind, row.type or None, row.keep, row.newest)
