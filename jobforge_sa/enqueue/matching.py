"""Jobs by what they have in common: canceled, retried and rescheduled batch by batch, each a caller's transaction."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, Unpack

from jobforge_sa.db import bulk_calls
from jobforge_sa.db.calls import Call
from jobforge_sa.enqueue.options import called, identifier, moment, resolve, word
from jobforge_sa.enqueue.subject import name_of
from jobforge_sa.errors import InvalidJob
from jobforge_sa.tasks import Task
from jobforge_sa.types import Batch, JobState

BATCH = 1_000


class Filters(TypedDict, total=False):
    """Which jobs; what is left out excludes none."""

    state: JobState | str | None
    type: str | Task[Any, Any] | None
    queue: str | None
    since: dt.datetime | None  # enqueued at that time or later
    until: dt.datetime | None  # enqueued before


class MoreFilters(Filters, total=False):
    """Which jobs to change."""

    subject: object  # a mapped instance, or its text
    all_tenants: bool  # an administrator's, where no tenant is set: whosever they are


class Matching:
    """The jobs that fit, to be changed newest first: `Jobs.matching`. Each call is one batch, and never commits.

    Commit, and pass the `cursor` of the answer on until that is None; what is committed is done, whatever comes. A
    batch waits for no claim, and keeps none waiting. Its transaction is at READ COMMITTED.

    Every method may raise what those of `Jobs` do, and:
        InvalidJob: a filter is unknown, the limit is not between 1 and 10,000, or no job of that state can be changed.
        AccessDenied: all tenants are asked for, and the login is no member of jobforge_admin.

    Example:
        >>> cursor = None
        >>> while True:
        ...     with Session(engine) as session, session.begin():
        ...         batch = Jobs(session, tenant="acme").matching(type=send).cancel(cursor=cursor)
        ...     if (cursor := batch.cursor) is None:
        ...         break
    """

    def __init__(
        self,
        rows: Callable[..., Sequence[Any]],
        *,
        subject: object = None,
        all_tenants: bool = False,
        **filters: Unpack[Filters],
    ) -> None:
        self._rows = rows
        about = None if subject is None else name_of(subject)
        self._values = fitting(**filters) | {"subject": about, "all_tenants": all_tenants}

    def cancel(self, *, cursor: uuid.UUID | None = None, limit: int = BATCH, dry_run: bool = False) -> Batch:
        """Cancel those that have not ended: what waits at once, what runs is told. See `Jobs.cancel`."""
        return self._batch(bulk_calls.CANCEL_JOBS, cursor, limit=limit, dry_run=dry_run)

    def retry(
        self, *, error: str | None = None, cursor: uuid.UUID | None = None, limit: int = BATCH, dry_run: bool = False
    ) -> Batch:
        """Bring those that are dead or canceled back, with all their attempts. See `Jobs.retry`.

        Args:
            error: What stands somewhere in the last run's error, written as "Type: message".
            cursor: The one of the batch before.
            limit: How many at most, up to 10,000.
            dry_run: Count only.

        Raises:
            QuotaExceeded: so many may not wait. Over all tenants such a tenant's are skipped, and counted.
        """
        return self._batch(bulk_calls.RETRY_JOBS, cursor, error=word("error", error), limit=limit, dry_run=dry_run)

    def reschedule(
        self, *, run_at: dt.datetime | None = None, delay: dt.timedelta | None = None,
        cursor: uuid.UUID | None = None, limit: int = BATCH, dry_run: bool = False,
    ) -> Batch:  # fmt: skip
        """Move those that wait to another time; to now, if none is given. See `Jobs.reschedule`."""
        when = resolve({}, {"run_at": run_at, "delay": delay})
        return self._batch(bulk_calls.RESCHEDULE_JOBS, cursor, limit=limit, dry_run=dry_run, **when)

    def _batch(self, call: Call, cursor: uuid.UUID | None, **values: object) -> Batch:
        place = None if cursor is None else identifier("cursor", cursor)
        (row,) = self._rows(call, cursor=place, **values, **self._values)
        return Batch(row.changed, row.skipped, row.next_cursor, getattr(row, "over_quota", 0))


def fitting(**filters: Unpack[Filters]) -> dict[str, object]:
    """The filters as the functions take them.

    Raises:
        InvalidJob: there is no such filter, a time has no zone, a filter cannot be stored.
    """
    for unknown in filters.keys() - Filters.__annotations__.keys():  # or it would fit all that there is
        known = ", ".join(sorted(MoreFilters.__annotations__))
        raise InvalidJob(f"there is no filter {unknown!r}", cure=f"filters: {known}; nothing was changed")
    type_, since, until = filters.get("type"), filters.get("since"), filters.get("until")
    return {
        "state": word("state", filters.get("state")),
        "type": type_.name if isinstance(type_, Task) else called("task", type_),
        "queue": called("queue", filters.get("queue")),
        "since": moment("since")(since) if since is not None else None,
        "until": moment("until")(until) if until is not None else None,
    }
