"""What a handler gets beside its payload: its job, its session, and the news that it should stop."""

from __future__ import annotations

import datetime as dt
import logging
import uuid
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

from jobforge_sa import trace as traces
from jobforge_sa.errors import ConfigurationError, LeaseLost
from jobforge_sa.types import Cancel, Release, TimedOut

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session

logger = logging.getLogger("jobforge_sa.handler")


class ClaimedJob(NamedTuple):  # a frozen dataclass takes ten times as long to make: 2 µs of each job
    """A job as `claim_jobs` gave it: what was asked, and which run this is. All times are the database's."""

    id: uuid.UUID
    tenant_id: str
    queue: str
    type: str
    priority: int
    payload: str  # the JSON text as it was stored: decoded one by one, so that a bad one spoils nothing else
    run: int
    attempt: int
    max_attempts: int
    crashes: int
    lease_token: uuid.UUID
    claimed_at: dt.datetime
    deadline: dt.datetime
    timeout: dt.timedelta | None
    run_at: dt.datetime
    created_at: dt.datetime
    idempotency_key: str | None
    parent_id: uuid.UUID | None
    trace: str | None
    tenant_token: str | None = None  # where tenancy is signed: for the handler's session

    def log_fields(self) -> dict[str, object]:
        """What a record of the log says of this run, whoever writes it; with the trace, where there is one."""
        fields: dict[str, object] = {
            "job_id": str(self.id), "job_type": self.type, "tenant_id": self.tenant_id, "queue": self.queue,
            "attempt": self.attempt, "run": self.run,
        }  # fmt: skip
        if (found := traces.ids(self.trace)) is not None:
            fields["trace_id"], fields["span_id"] = found
        return fields


# the job whose handler runs in this thread or task
current_job: ContextVar[ClaimedJob | None] = ContextVar("jobforge_job", default=None)


class Signals:
    """Why a run should stop, if it should. Set by other threads than the handler's; never unset."""

    canceled = False  # somebody canceled the job
    lost = False  # the lease is gone
    stopping = False  # the worker shuts down, and its grace is over
    timed_out = False  # it has run for longer than its timeout

    @property
    def should_stop(self) -> bool:
        """Whether there is any reason to stop."""
        return self.canceled or self.lost or self.stopping or self.timed_out


class _JobLogger(logging.LoggerAdapter[logging.Logger]):
    """Adds the job's fields to every record, beside those that the call itself brings."""

    def __init__(self, job: ClaimedJob) -> None:
        super().__init__(logger)
        self._job = job

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        kwargs["extra"] = {**self._job.log_fields(), **(kwargs.get("extra") or {})}
        return msg, kwargs


class _BaseContext:
    """What both kinds of handlers share."""

    job: ClaimedJob
    completed = False  # the handler has completed its job itself
    _signals: Signals
    _log: _JobLogger | None = None

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose records carry the job's id, type, tenant, queue, attempt, run and trace."""
        if self._log is None:
            self._log = _JobLogger(self.job)
        return self._log

    @property
    def canceled(self) -> bool:
        """Whether this run should stop: canceled, out of time, its lease is gone, or the worker shuts down."""
        return self._signals.should_stop

    def _once(self) -> None:
        if self.completed:
            raise ConfigurationError(f"job {self.job.id} is completed already", cure="call complete once, at the end")

    def check(self) -> None:
        """Raise where the run should stop. Call it between the steps of a long handler.

        Raises:
            Cancel: the job was canceled.
            TimedOut: the handler has run for longer than its timeout.
            Release: the worker shuts down; the job goes back to its queue, uncharged.
            LeaseLost: the lease is gone; whatever the handler still does will not count.
        """
        if self._signals.lost:
            raise LeaseLost(f"job {self.job.id}: the lease of run {self.job.run} is gone")
        if self._signals.canceled:
            raise Cancel("asked to stop")
        if self._signals.timed_out:
            raise TimedOut
        if self._signals.stopping:
            raise Release


class Context(_BaseContext):
    """The context of a handler written as a plain function."""

    _session: Session | None = None

    def __init__(
        self, job: ClaimedJob, signals: Signals, open_session: Callable[[], Session],
        complete: Callable[[Session, object], None],
    ) -> None:  # fmt: skip
        self.job = job
        self._signals = signals
        self._open = open_session
        self._complete = complete

    @property
    def session(self) -> Session:
        """A session bound to the job's tenant, opened when first asked for.

        What it writes is committed together with the job's completion, by the worker, when the handler returns; or
        not at all. A commit of the handler's own is a step: it holds only while the lease does, and the handler may run
        again behind it. `complete` is the last commit.
        """
        if self._session is None:
            self._session = self._open()
        return self._session

    def complete(self, result: object = None) -> None:
        """Commit the session together with the job's completion now, and go on: for what shall come after that.

        Once it has returned the job has succeeded, whatever the handler still does or raises.

        Args:
            result: What is stored as the handler's result; what the handler returns is not.

        Raises:
            LeaseLost: another worker runs the job; nothing was committed.
            ConfigurationError: the job is completed already.
            ValueError: the result is no JSON that can be stored; nothing was committed.
        """
        self._once()
        self._complete(self.session, result)
        self.completed = True

    @property
    def opened_session(self) -> Session | None:
        """The session, if the handler has asked for it."""
        return self._session


class AsyncContext(_BaseContext):
    """The context of an `async def` handler."""

    _session: AsyncSession | None = None

    def __init__(
        self, job: ClaimedJob, signals: Signals, open_session: Callable[[], AsyncSession],
        complete: Callable[[Session, object], None],
    ) -> None:  # fmt: skip
        self.job = job
        self._signals = signals
        self._open = open_session
        self._complete = complete

    @property
    def session(self) -> AsyncSession:
        """As `Context.session`, for `await`."""
        if self._session is None:
            self._session = self._open()
        return self._session

    async def complete(self, result: object = None) -> None:
        """As `Context.complete`, for `await`."""
        self._once()
        await self.session.run_sync(self._complete, result)
        self.completed = True

    @property
    def opened_session(self) -> AsyncSession | None:
        """The session, if the handler has asked for it."""
        return self._session
