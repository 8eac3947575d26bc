"""A worker's calls on a test's own connection: under the roles that they need, which are given back behind them."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, DateTime, Uuid, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from jobforge_sa.context import ClaimedJob
from jobforge_sa.db import calls, failures, role
from jobforge_sa.db import tenant as settings
from jobforge_sa.enqueue.answers import info
from jobforge_sa.errors import AccessDenied
from jobforge_sa.tenant import Named
from jobforge_sa.types import JobInfo
from jobforge_sa.worker import session as sessions
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.run import Run

_STANDS = text(
    "select current_setting('role'), coalesce(current_setting('jobforge.tenant_id', true), ''), "
    "coalesce(current_setting('jobforge.tenant_token', true), '')"
)
_STAND_SO = text(
    "select set_config('role', :role, true), set_config('jobforge.tenant_id', :tenant, true), "
    "set_config('jobforge.tenant_token', :token, true)"
)
_MAY_CLAIM = text("select has_function_privilege(to_regproc('jobforge.claim_jobs')::oid, 'execute'), current_user")
_CLAIM = text(
    "select j.job_id, j.tenant_id, j.queue, j.type, j.priority, j.payload, j.run, j.attempt, j.max_attempts, "
    "j.crashes, j.lease_token, j.claimed_at, j.deadline, j.timeout, j.run_at, j.created_at, j.idempotency_key, "
    "j.parent_id, j.trace, j.tenant_token from jobforge.claim_jobs(cast(cast(:worker_id as text) as uuid), "
    "cast(:queues as text[]), cast(:types as text[]), 1, p_cursors => cast(:cursors as text[])) j"
).columns(job_id=Uuid(), lease_token=Uuid(), parent_id=Uuid())
_COMPLETE = text("select answer, reason from jobforge.complete_jobs(cast(:results as json))")
# min(uuid) came with Postgres 18
_PLACES = text(
    "select r.queue, r.tenant_id, min(cast(r.job_id as text)) as first, cast(null as timestamptz) as due, true as now "
    "from jobforge.ready r where r.type = any (cast(:types as text[])) group by 1, 2 union all "
    "select s.queue, s.tenant_id, min(cast(s.job_id as text)), min(s.run_at), min(s.run_at) <= jobforge.now() "
    "from jobforge.scheduled s where s.type = any (cast(:types as text[])) group by 1, 2"
).columns(due=DateTime(timezone=True))
_WAITING = text(
    "select r.job_id, r.type, r.queue, r.tenant_id, cast(null as timestamptz) as due from jobforge.ready r union all "
    "select s.job_id, s.type, s.queue, s.tenant_id, s.run_at from jobforge.scheduled s order by due nulls first, job_id"
).columns(job_id=Uuid(), due=DateTime(timezone=True))


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs wait: a tenant's in a queue."""

    queue: str
    tenant_id: str
    first: str  # the oldest one's id
    due: dt.datetime | None  # when the next one is due; None: they are queued
    now: bool  # that moment has come


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that did not run: it is queued, or scheduled for `due`."""

    id: uuid.UUID
    type: str
    queue: str
    tenant_id: str
    due: dt.datetime | None


class Desk:
    """Claims, completes and looks around for a worker that has no connection of its own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._worker_id = uuid.uuid4()
        self.tenants: dict[str, Named] = {}  # those that can be looked for, where the login is shown one at a time
        self.sees_all = False  # it may look around as administrator

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Give the transaction its role and tenant back behind the block."""
        stands = self._connection.execute(_STANDS).one()
        values: dict[str, Any] = dict(zip(("role", "tenant", "token"), stands, strict=True))
        try:
            yield
        except BaseException:
            with suppress(SQLAlchemyError):  # it may be broken, or gone
                self._connection.execute(_STAND_SO, values)
            raise
        self._connection.execute(_STAND_SO, values)

    def claim(self, queues: Sequence[str], types: Sequence[str], cursors: Sequence[str]) -> ClaimedJob | None:
        """Claim a job as a worker with one slot would; `cursors` says behind which tenant to look in each queue.

        Raises:
            AccessDenied: the login is no worker, and may not become one. WrongIsolation: above READ COMMITTED.
        """
        values = {"worker_id": str(self._worker_id), "queues": queues, "types": types, "cursors": cursors}
        with self._as_worker():
            row = self._connection.execute(_CLAIM, values).one_or_none()
        return None if row is None else ClaimedJob(*row)

    def complete(self, run: Run, ending: Ending) -> tuple[str, str | None]:
        """End a run whose handler has not; the database's answer, and the reason of a refusal."""
        with self._as_worker():
            self._act(sessions.tenant_of(run.job))
            answer, reason = self._connection.execute(_COMPLETE, {"results": f"[{ending.item(run)}]"}).one()
        return str(answer), reason

    def get(self, job: ClaimedJob) -> JobInfo | None:
        """The job as it is now; None: it is gone."""
        tenant = sessions.tenant_of(job)
        values = calls.GET_JOB.values(tenant, job_id=job.id)
        with self.kept():
            row = self._connection.execute(calls.GET_JOB.statement(tenant), values).one_or_none()
        return None if row is None else info(row)

    def places(self, types: Sequence[str]) -> list[Place]:
        """Where jobs of these types wait that can be seen, the oldest first."""
        rows = [row for look in self._looks() for row in look.execute(_PLACES, {"types": types})]
        return sorted({Place(*row) for row in rows}, key=lambda place: place.first)

    def waiting(self) -> list[Waiting]:
        """All jobs that wait and can be seen, in the order in which they are due."""
        return list(dict.fromkeys(Waiting(*row) for look in self._looks() for row in look.execute(_WAITING)))

    # -- how ---------------------------------------------------------------------------

    def _looks(self) -> Iterator[Connection]:
        """The connection as administrator; or as it is, and as each of the tenants."""
        with self.kept():
            self.sees_all = role.become(self._connection, "jobforge_admin")
            yield self._connection
            for tenant in () if self.sees_all else [*self.tenants.values()]:
                self._act(tenant)
                yield self._connection

    def _act(self, tenant: Named) -> None:
        self._connection.execute(settings.set_tenant(tenant), settings.binds(tenant))

    @contextmanager
    def _as_worker(self) -> Iterator[None]:
        """In a savepoint: what the database refuses breaks nothing else."""
        may, user = self._connection.execute(_MAY_CLAIM).one()
        try:
            with self._connection.begin_nested(), self.kept():
                if not may and not role.become(self._connection, "jobforge_worker"):
                    raise AccessDenied(
                        f'drain runs jobs, and "{user}" is no worker: jobforge_worker is missing',
                        cure=f'in the test database a DBA runs: grant jobforge_worker to "{user}";',
                    )
                yield
        except DBAPIError as error:
            raise failures.translate(error, role="jobforge_worker") or error from error
