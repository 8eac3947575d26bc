"""`Jobs` for `await`: each method runs its twin through SQLAlchemy's greenlet, at the same cost and with one code."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, Unpack

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session

from jobforge_sa.enqueue.aio_matching import AsyncMatching
from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.enqueue.matching import MoreFilters
from jobforge_sa.enqueue.pending import PendingJob
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.impact import Impact
from jobforge_sa.tasks import JobOptions, NewJob, Task
from jobforge_sa.tenant import Tenant
from jobforge_sa.types import Enqueued, JobInfo, JobPage, JobState, Reason

P = TypeVar("P")
T = TypeVar("T")


class AsyncJobs:
    """The jobs of one tenant, through an `AsyncSession` or `AsyncConnection` of the caller's. See `Jobs`."""

    def __init__(
        self,
        session: AsyncSession | async_scoped_session[Any] | AsyncConnection,
        *,
        tenant: Tenant | None = None,
        strict_rls: bool = False,
    ) -> None:
        self._given = session
        if not isinstance(self._session, AsyncSession | AsyncConnection):
            raise ConfigurationError(
                f"AsyncJobs takes an AsyncSession or an AsyncConnection, not {type(session).__name__}",
                cure="for a Session use Jobs",
            )
        self._tenant = tenant
        self._strict = strict_rls

    async def enqueue(
        self, task: Task[P, Any], payload: P | Callable[[], P], **options: Unpack[JobOptions]
    ) -> Enqueued:
        """See `Jobs.enqueue`."""
        return await self._run(lambda jobs: jobs.enqueue(task, payload, **options))

    def add(self, task: Task[P, Any], payload: P | Callable[[], P], **options: Unpack[JobOptions]) -> PendingJob:
        """See `Jobs.add`; no `await`, as with `AsyncSession.add`."""
        if isinstance(self._session, AsyncConnection):
            raise ConfigurationError("an AsyncConnection has no flush", cure="use enqueue, or an AsyncSession")
        jobs = Jobs(self._session.sync_session, tenant=self._tenant, strict_rls=self._strict)
        return jobs.add(task, payload, **options)

    async def enqueue_many(self, jobs: Iterable[NewJob]) -> list[Enqueued]:
        """See `Jobs.enqueue_many`."""
        return await self._run(lambda sync: sync.enqueue_many(jobs))

    async def cancel(self, job_id: uuid.UUID) -> JobInfo:
        """See `Jobs.cancel`."""
        return await self._run(lambda jobs: jobs.cancel(job_id))

    async def cancel_jobs_of(self, row: object) -> int:
        """See `Jobs.cancel_jobs_of`."""
        return await self._run(lambda jobs: jobs.cancel_jobs_of(row))

    async def retry(self, job_id: uuid.UUID) -> JobInfo:
        """See `Jobs.retry`."""
        return await self._run(lambda jobs: jobs.retry(job_id))

    async def replay(self, job_id: uuid.UUID, *, if_gone: Mapping[str, Any] | None = None) -> JobInfo:
        """See `Jobs.replay`."""
        return await self._run(lambda jobs: jobs.replay(job_id, if_gone=if_gone))

    async def reschedule(
        self, job_id: uuid.UUID, *, run_at: dt.datetime | None = None, delay: dt.timedelta | None = None
    ) -> JobInfo:
        """See `Jobs.reschedule`."""
        return await self._run(lambda jobs: jobs.reschedule(job_id, run_at=run_at, delay=delay))

    async def get(self, job_id: uuid.UUID) -> JobInfo:
        """See `Jobs.get`."""
        return await self._run(lambda jobs: jobs.get(job_id))

    async def why(self, job_id: uuid.UUID) -> Sequence[Reason]:
        """See `Jobs.why`."""
        return await self._run(lambda jobs: jobs.why(job_id))

    async def impact(self, job_id: uuid.UUID, *, limit: int = 1000, depth: int = 1000) -> Impact:
        """See `Jobs.impact`."""
        return await self._run(lambda jobs: jobs.impact(job_id, limit=limit, depth=depth))

    async def list(
        self,
        *,
        state: JobState | str | None = None,
        type: str | Task[Any, Any] | None = None,  # noqa: A002 - the contract's word
        queue: str | None = None,
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
        limit: int = 50,
        cursor: uuid.UUID | None = None,
    ) -> JobPage:
        """See `Jobs.list`."""
        return await self._run(
            lambda jobs: jobs.list(
                state=state, type=type, queue=queue, since=since, until=until, limit=limit, cursor=cursor
            )
        )

    def matching(self, **filters: Unpack[MoreFilters]) -> AsyncMatching:
        """See `Jobs.matching`; no `await`."""
        return AsyncMatching(
            self._session,
            lambda sync: Jobs(sync, tenant=self._tenant, strict_rls=self._strict).matching(**filters),
        )

    @property
    def _session(self) -> AsyncSession | AsyncConnection:
        """The caller's; of a scope the one that it has now, in this task."""
        return self._given() if isinstance(self._given, async_scoped_session) else self._given

    async def _run(self, call: Callable[[Jobs], T]) -> T:
        return await self._session.run_sync(lambda sync: call(Jobs(sync, tenant=self._tenant, strict_rls=self._strict)))
