"""Jobs of a session: enqueued, read and changed in the caller's own transaction. Never commits, never connects."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar, Unpack

from sqlalchemy import Connection, table, update
from sqlalchemy.orm import Session, scoped_session

from jobforge_sa import tracing
from jobforge_sa.db import calls
from jobforge_sa.db.jsontext import decode
from jobforge_sa.enqueue import fit, item, keys, pending, subject
from jobforge_sa.enqueue.answers import impact_of, info, translated, unknown
from jobforge_sa.enqueue.bulk import Bulk
from jobforge_sa.enqueue.matching import Matching, MoreFilters, fitting
from jobforge_sa.enqueue.options import identifier, options_of, resolve
from jobforge_sa.enqueue.origin import ORIGIN
from jobforge_sa.enqueue.pending import PendingJob
from jobforge_sa.enqueue.send import may_notify, send
from jobforge_sa.enqueue.tenant import autocommits, bound_tenant
from jobforge_sa.errors import ConfigurationError, TenantConflict
from jobforge_sa.impact import Impact
from jobforge_sa.tasks import QUEUE, JobOptions, NewJob, Task, checked
from jobforge_sa.tenant import Named, Tenant, name_of, named
from jobforge_sa.types import Enqueued, JobInfo, JobPage, JobState, Reason

P = TypeVar("P")

# what a session that keeps reads and writes apart is told to find a connection for; never sent
WRITE = update(table("jobs", schema="jobforge"))


class Jobs:
    """The jobs of one tenant, through a session or connection of the caller's.

    A job enqueued here exists if and only if the caller's transaction commits. Pending rows are flushed first, so a
    payload may name a row that the flush gives its key: pass a function, `lambda: Ship(order_id=order.id)`.

    Args:
        session: A `Session`, a `scoped_session`, or a bare `Connection`.
        tenant: The tenant. Default: the one that the session is bound to, else the one of the task's registry, else
            whatever the application has set in this transaction itself. It stays set until the transaction ends.
        strict_rls: Refuse a login to which Postgres applies no policies (a superuser, BYPASSRLS), instead of warning
            once for each engine. Also an option of `JobForge`, for enqueueing and for workers.

    Every method may raise:
        TenantRequired, TenantConflict, TokenRejected: there is no tenant, a second one, or one that is not proved.
        RowSecurityOff: no policy binds the login, and `strict_rls` asks for it.
        SchemaMismatch: the schema does not fit this code. AccessDenied: the login is no member of jobforge_app.
        What the driver raises for the database's own reasons (a lost connection, 40001, lock_timeout) stays as it is.
    """

    def __init__(
        self,
        session: Session | scoped_session[Any] | Connection,
        *,
        tenant: Tenant | None = None,
        strict_rls: bool = False,
    ) -> None:
        self._given = session
        if not isinstance(self._session, Session | Connection):
            raise ConfigurationError(
                f"Jobs takes a Session or a Connection, not {type(session).__name__}",
                cure="open one: with Session(engine) as session; for an AsyncSession use AsyncJobs",
            )
        self._asked = None if tenant is None else named(tenant)
        self._strict = strict_rls
        _ = self._tenant  # a conflict is said here

    def enqueue(self, task: Task[P, Any], payload: P | Callable[[], P], **options: Unpack[JobOptions]) -> Enqueued:
        """Enqueue one job.

        Raises:
            InvalidJob, InvalidPayload: it must not be stored; nothing was sent.
        """
        values = options_of(checked(task), options)
        tenant = self._tenant_for(task)
        connection = self._begin(strict=task.forge.strict_rls, tenant=tenant)
        return self._enqueue_one(connection, tenant, task, values, item.dumped(task, payload))

    def add(self, task: Task[P, Any], payload: P | Callable[[], P], **options: Unpack[JobOptions]) -> PendingJob:
        """Let the session's next flush enqueue a job, as `session.add` does for a row: all of them in one call.

        Rows may be pending too: a payload that is a function is asked when the flush has given them their keys. A
        rollback, also of a savepoint, takes back what was added since. Nothing is sent before a flush: a session that
        is closed without one drops its jobs, with a `JobsDroppedWarning`.

        Raises:
            InvalidJob, InvalidPayload: it must not be stored; the session is as it was. From the flush: the payload
                that the function gave must not be stored, and whatever `enqueue` raises.
        """
        if not isinstance(self._session, Session):
            raise ConfigurationError("a Connection has no flush", cure="use enqueue, or a Session")
        values = options_of(checked(task), options)
        text = "" if callable(payload) else item.dumped(task, payload)  # at this line, where it can be mended
        if text:
            values = keys.named(task, values, text)
        mine = (
            self if self._given is self._session else Jobs(self._session, tenant=self._asked, strict_rls=self._strict)
        )
        together = (self._asked, self._strict)
        job = PendingJob(task, values, lambda: text or item.dumped(task, payload), mine._send_added, together)
        pending.add(self._session, job)
        return job

    def enqueue_many(self, jobs: Iterable[NewJob]) -> list[Enqueued]:
        """Enqueue many jobs, 5,000 in a statement, and answer in their order. All or nothing, like the transaction.

        Raises:
            InvalidJob, InvalidPayload: one of them must not be stored. Of its statement nothing was stored; roll back.
        """
        new = ((job.task, options_of(job.task, job.options), item.dumped(job.task, job.payload)) for job in jobs)
        return [*self._enqueue_all(self._begin(), new)]

    def cancel(self, job_id: uuid.UUID) -> JobInfo:
        """Cancel a job: at once while it waits; a running one is told; one that has ended stays as it is.

        Raises:
            JobNotFound: there is none of this tenant.
        """
        return self._one(calls.CANCEL_JOB, job_id)

    def cancel_jobs_of(self, row: object) -> int:
        """Cancel all jobs of a row, a mapped instance or a subject's text, that have not ended: see `cancel`.

        Returns:
            How many they were.
        """
        connection = self._begin()
        return cancel_jobs_of(connection, self._tenant, subject.name_of(row))

    def retry(self, job_id: uuid.UUID) -> JobInfo:
        """Bring a dead or canceled job back to its queue, with all its attempts.

        Raises:
            JobNotFound: there is none of this tenant. WrongState: it is neither dead nor canceled.
        """
        return self._one(calls.RETRY_JOB, job_id)

    def replay(self, job_id: uuid.UUID, *, if_gone: Mapping[str, Any] | None = None) -> JobInfo:
        """Enqueue a new job like this one, due now, whatever became of that: its child, with the cause "replay".

        It has neither the idempotency key nor the unique key of the original, or it would be the original.

        Args:
            job_id: The original.
            if_gone: What it was, for one that is pruned: `type`, `payload`, and what else an enqueue says of a job, as
                the SQL contract's items have it.

        Returns:
            The new job.

        Raises:
            JobNotFound: there is none of this tenant. InvalidJob, InvalidPayload: what was given cannot be a job.
        """
        return self._one(calls.REPLAY_JOB, job_id, if_gone=None if if_gone is None else json.dumps(if_gone))

    def reschedule(
        self, job_id: uuid.UUID, *, run_at: dt.datetime | None = None, delay: dt.timedelta | None = None
    ) -> JobInfo:
        """Move a waiting job to another time; to now, if neither is given.

        Raises:
            JobNotFound: there is none of this tenant. WrongState: it is running or has ended.
        """
        values = resolve({}, {"run_at": run_at, "delay": delay})
        return self._one(calls.RESCHEDULE_JOB, job_id, **values)

    def get(self, job_id: uuid.UUID) -> JobInfo:
        """One job as it is now.

        Raises:
            JobNotFound: there is none of this tenant.
        """
        return self._one(calls.GET_JOB, job_id)

    def why(self, job_id: uuid.UUID) -> Sequence[Reason]:
        """Why a job does not run, or how it came to its end: the answer first.

        Raises:
            JobNotFound: there is none of this tenant.
        """
        rows = self._rows(calls.WHY_JOB, job_id=identifier("job_id", job_id))
        if not rows:
            raise unknown(job_id)
        return [Reason(row.code, row.says, decode(row.detail)) for row in rows]

    def impact(self, job_id: uuid.UUID, *, limit: int = 1000, depth: int = 1000) -> Impact:
        """What caused a job, up to the first of the line, and all that it caused.

        Args:
            job_id: The job.
            limit: So many jobs each way at most, up to 10,000.
            depth: So many steps from job to job at most, up to 10,000.

        Raises:
            JobNotFound: there is none of this tenant. InvalidJob: a bound is out of its range.
        """
        rows = self._rows(calls.IMPACT_OF_JOB, job_id=identifier("job_id", job_id), limit=limit, depth=depth)
        if not rows:
            raise unknown(job_id)
        return impact_of(rows)

    def list(
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
        """One page of jobs, newest first; `since` and `until` bound the time of enqueueing.

        Raises:
            InvalidJob: there is no such state, the limit is not between 1 and 1000, a time has no zone, a filter cannot
                be stored.
        """
        values = fitting(state=state, type=type, queue=queue, since=since, until=until)
        place = identifier("cursor", cursor) if cursor is not None else None
        jobs = [info(row) for row in self._rows(calls.LIST_JOBS, **values, limit=limit, cursor=place)]
        return JobPage(jobs, jobs[-1].id if len(jobs) == limit else None)

    def matching(self, **filters: Unpack[MoreFilters]) -> Matching:
        """The jobs that fit, by `state`, `type`, `queue`, `since`, `until`, `subject`: to be changed batch by batch."""
        return Matching(self._rows, **filters)

    # -- how ---------------------------------------------------------------------------

    @property
    def _session(self) -> Session | Connection:
        """The caller's; of a scope the one that it has now, in this thread."""
        return self._given() if isinstance(self._given, scoped_session) else self._given

    @property
    def _tenant(self) -> Named | None:
        session, asked = self._session, self._asked
        bound = bound_tenant(session) if isinstance(session, Session) else None
        if bound is not None and asked is not None and name_of(bound) != name_of(asked):
            raise TenantConflict(f"this session is bound to the tenant {name_of(bound)!r}, not {name_of(asked)!r}")
        return asked if bound is None else bound

    def _begin(self, *, strict: bool = False, tenant: Named | None = None) -> Connection:
        """The caller's connection, everything pending flushed; at an engine's first time its database is looked at."""
        session = self._session
        if isinstance(session, Connection):
            return self._looked_at(session, strict=strict, tenant=tenant)
        # explicitly: Core statements autoflush in SQLAlchemy 2.1 but not in 2.0. The private attribute is all that
        # tells a listener of a mapper's events that its flush is under way
        if not getattr(session, "_flushing", False):
            session.flush()
        return self._looked_at(_writer(session), strict=strict, tenant=tenant)

    def _looked_at(self, connection: Connection, *, strict: bool = False, tenant: Named | None = None) -> Connection:
        fit.look(connection, strict=strict or self._strict, tenant=tenant or self._tenant)
        return connection

    def _enqueue_one(
        self, connection: Connection, tenant: Named | None, task: Task[Any, Any], values: dict[str, Any], payload: str
    ) -> Enqueued:
        asked: dict[str, Any] = {
            "type": task.name,
            "payload": payload,
            **keys.named(task, values, payload),
            "subject": item.subject_of(values),
            "notify": None if task.forge.notify and may_notify(connection) else False,
        }
        if asked.get("on_duplicate") == "merge" and autocommits(connection):
            raise ConfigurationError(
                "payloads are merged under a lock, and this connection is in AUTOCOMMIT: none outlives its statement",
                cure="merge in a transaction; or enqueue with on_duplicate='replace'",
            )
        with tracing.sending(values.get("queue", QUEUE), tenant) as span, translated(connection):
            asked |= self._origin(span)
            answer = send(connection, tenant, **asked)
            if asked.get("on_duplicate") == "merge" and not answer.created:  # the waiting one is locked for us
                waiting = _call(connection, calls.GET_JOB, tenant, job_id=answer.id)
                asked |= {"payload": keys.merged(task, waiting.payload, payload), "on_duplicate": "replace"}
                answer = send(connection, tenant, **asked)
            span.enqueued(answer.id, task.name)
        return answer

    def _send_added(self, added: Sequence[PendingJob]) -> None:
        """Enqueue what was added: for the flush that is under way."""
        assert isinstance(self._session, Session)
        connection = self._looked_at(_writer(self._session))
        answers = self._enqueue_all(connection, ((job.task, job.values, job.payload()) for job in added))
        for position, job in enumerate(added):
            job.enqueued = answers[position]

    def _enqueue_all(
        self, connection: Connection, jobs: Iterable[tuple[Task[Any, Any], dict[str, Any], str]]
    ) -> Sequence[Enqueued]:
        """Jobs as their tasks, their options and their payloads' text; the answers come in the same order."""
        with tracing.sending(None, self._tenant) as span:
            bulk = Bulk(
                connection, self._origin(span), self._tenant_for,
                lambda task, *rest: self._enqueue_one(connection, self._tenant_for(task), task, *rest),
            )  # fmt: skip
            for job in jobs:
                bulk.add(*job)
            answers = bulk.send()
            span.sent(bulk.queues, len(answers))
            return answers

    def _tenant_for(self, task: Task[Any, Any]) -> Named | None:
        tenant = self._tenant
        return tenant if tenant is not None or task.forge.tenant is None else named(task.forge.tenant)

    def _origin(self, span: tracing.Span) -> dict[str, Any]:
        """What a job inherits; where somebody traces, its trace is that of this enqueue."""
        session = self._session
        origin = session.info.get(ORIGIN) if isinstance(session, Session) else None
        if origin is None:
            return {} if (trace := span.carry(None)) is None else {"trace": trace}
        return {"parent_id": origin.parent_id, "trace": span.carry(origin.trace)}

    def _one(self, call: calls.Call, job_id: uuid.UUID, **values: object) -> JobInfo:
        rows = self._rows(call, job_id=identifier("job_id", job_id), **values)
        if not rows:
            raise unknown(job_id)
        return info(rows[0])

    def _rows(self, call: calls.Call, **values: object) -> Sequence[Any]:
        connection = self._begin()
        if "notify" in call.arguments:
            values["notify"] = may_notify(connection)
        with translated(connection):
            return connection.execute(call.statement(self._tenant), call.values(self._tenant, **values)).all()


def cancel_jobs_of(connection: Connection, tenant: Named | None, name: str) -> int:
    """Cancel the jobs of a subject; for a flush that is under way, too."""
    values = calls.CANCEL_JOBS_OF.values(tenant, subject=name, notify=may_notify(connection))
    with translated(connection):
        return int(connection.execute(calls.CANCEL_JOBS_OF.statement(tenant), values).scalar_one())


def _call(connection: Connection, call: calls.Call, tenant: Named | None, **values: object) -> Any:
    return connection.execute(call.statement(tenant), call.values(tenant, **values)).one()


def _writer(session: Session) -> Connection:
    return session.connection(bind_arguments={"clause": WRITE})
