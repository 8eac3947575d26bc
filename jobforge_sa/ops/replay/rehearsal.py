"""A dry run: a handler run to its end in a transaction that is rolled back, whatever it does, with the network closed.

The handler's session stands on a connection whose transaction is ours: its commits, and `ctx.complete`, end savepoints.
What it enqueues is rolled back with the rest, and no NOTIFY is sent. Who goes past the session and commits on the
connection meets a cursor that lets no commit through, and transactions behind ours may not write.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pydantic
from sqlalchemy import Connection, Engine, NullPool, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from jobforge_sa.context import AsyncContext, ClaimedJob, Context, Signals
from jobforge_sa.db import calls, pooler
from jobforge_sa.enqueue import fit
from jobforge_sa.enqueue.origin import ORIGIN, Origin
from jobforge_sa.enqueue.tenant import TENANT, TenantSession
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops.database import CONNECT_TIMEOUT
from jobforge_sa.ops.replay.closed_network import closed
from jobforge_sa.tasks import Task
from jobforge_sa.tenant import Named
from jobforge_sa.types import Done, Outcome
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.ending import Ending

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

SAVEPOINTS: Any = "create_savepoint"  # what a commit of the session ends, instead of our transaction


@dataclass(frozen=True, slots=True)
class Played:
    """What a rehearsal came to."""

    ending: Ending
    enqueued: Sequence[str] | None  # types; None: the handler ended the transaction in which they could be counted
    tried: Sequence[str]  # what the handler wanted of the world


class RehearsalSession(TenantSession):
    """The session of a handler that holds no lease."""


@event.listens_for(RehearsalSession, "before_commit")
def _flush_first(session: Session) -> None:
    session.flush()  # as a worker's session does


class Rehearsal:
    """One handler with one job.

    Args:
        task: The handler's.
        job: What the handler is told of itself.
        tenant: Whose transaction it is.
    """

    def __init__(self, task: Task[Any, Any], job: ClaimedJob, tenant: Named) -> None:
        self._task = task
        self._job = job
        self._parent = uuid.uuid4()  # of what it enqueues: no other transaction has jobs of this one
        self._info = {TENANT: tenant, ORIGIN: Origin(self._parent, job.trace)}
        self._completed: Ending | None = None

    def play(self, engine: Engine) -> Played:
        """Run it."""
        if self._task.is_async:
            with ExitStack() as stack:  # the loop waits at its end for what its threads still do
                return asyncio.run(self._play_async(_async(engine), stack))
        with engine.connect() as connection:
            self._prepare(connection)
            session = RehearsalSession(connection, join_transaction_mode=SAVEPOINTS, info=self._info)
            ctx = Context(self._job, Signals(), lambda: session, self._complete)
            with closed() as tried:
                ending = self._settled(session, self._ended(ctx))
            return Played(ending, self._count(session, connection), tried)

    async def _play_async(self, engine: AsyncEngine, stack: ExitStack) -> Played:
        from sqlalchemy.ext.asyncio import AsyncSession

        async with engine.connect() as connection:
            await connection.run_sync(self._prepare)
            session = AsyncSession(
                connection, sync_session_class=RehearsalSession, join_transaction_mode=SAVEPOINTS, info=self._info
            )
            ctx = AsyncContext(self._job, Signals(), lambda: session, self._complete)
            tried = stack.enter_context(closed())
            ending = await self._ended_async(ctx)
            ending = await session.run_sync(self._settled, ending)
            return Played(ending, await self._count_async(session.sync_session, connection), tried)

    async def _count_async(self, session: Session, connection: AsyncConnection) -> Sequence[str] | None:
        return await connection.run_sync(lambda sync: self._count(session, sync))

    def _prepare(self, connection: Connection) -> None:
        """Begin the transaction that nobody can commit."""
        fit.look(connection, strict=self._task.forge.strict_rls)  # as a worker looks at its handlers' sessions
        backend_pid = connection.exec_driver_sql(pooler.BACKEND_PID).scalar_one()
        connection.rollback()
        driver = connection.connection.driver_connection
        if not pooler.stands_between(driver, backend_pid):  # else the setting would be another client's next
            connection.execute(calls.READ_ONLY)
            connection.commit()
        connection.execute(calls.READ_WRITE)
        connection.execute(calls.NEVER_COMMIT)

    def _ended(self, ctx: Context) -> Ending:
        try:
            payload = self._task.load(self._job.payload)
        except pydantic.ValidationError as error:
            return endings.of_payload(error)
        try:
            return self._judged(self._task.handler(ctx, payload))
        except KeyboardInterrupt:  # the operator's
            raise
        except BaseException as error:  # SystemExit, too: as in a worker it ends the job alone
            return self._completed or endings.of_error(error)

    async def _ended_async(self, ctx: AsyncContext) -> Ending:
        try:
            payload = self._task.load(self._job.payload)
        except pydantic.ValidationError as error:
            return endings.of_payload(error)
        limit = asyncio.timeout(self._job.timeout.total_seconds() if self._job.timeout is not None else None)
        try:
            async with limit:
                value = await self._task.handler(ctx, payload)
        except BaseException as error:
            current = asyncio.current_task()
            if current is not None and current.cancelling():  # the operator's
                raise
            expired = isinstance(error, TimeoutError) and limit.expired()
            return self._completed or (endings.TIMED_OUT if expired else endings.of_error(error))
        return self._judged(value)

    def _judged(self, value: object) -> Ending:
        if self._completed is not None:
            return self._completed
        ending = endings.of_value(value)
        keeps = ending.outcome != "failed" or isinstance(value, Outcome)
        return replace(ending, committed=keeps)  # returned, and not raised: what it wrote would be committed

    def _complete(self, session: Session, result: object) -> None:
        """The handler completes its job itself."""
        ending = endings.of_value(Done(result))
        if ending.outcome != "succeeded":
            raise ValueError((ending.error or {}).get("message") or f"a {type(result).__name__} is no result")
        session.commit()
        self._completed = replace(ending, committed=True)

    def _settled(self, session: Session, ending: Ending) -> Ending:
        """What the worker's last commit would come to: what is not flushed yet, and constraints that wait for it."""
        if self._completed is not None or not ending.committed:
            with suppress(SQLAlchemyError):  # the transaction may be gone
                session.rollback()
        if not ending.committed:
            return ending
        try:
            if session.in_transaction():
                session.commit()
            session.execute(calls.CHECK_CONSTRAINTS)
            session.commit()
        except Exception as error:
            with suppress(SQLAlchemyError):
                session.rollback()
            return endings.of_error(error)
        return ending

    def _count(self, session: Session, connection: Connection) -> Sequence[str] | None:
        """What it enqueued, seen by its own transaction; nothing of that is left when the connection is closed."""
        try:
            session.close()
            with RehearsalSession(connection, join_transaction_mode=SAVEPOINTS, info=self._info) as other:
                of = {"job_id": str(self._parent), "tenant_id": self._job.tenant_id}
                return [str(one) for one in other.scalars(calls.ENQUEUED_BY, of)]
        except SQLAlchemyError:
            return None


def _async(engine: Engine) -> AsyncEngine:
    try:
        from sqlalchemy.ext.asyncio import create_async_engine
    except ImportError as error:
        raise ConfigurationError(
            "async handlers' sessions need greenlet", cure="pip install 'jobforge_sa[async]'"
        ) from error
    limit = {} if "connect_timeout" in engine.url.query else {"connect_timeout": CONNECT_TIMEOUT}
    made = create_async_engine(engine.url, poolclass=NullPool, hide_parameters=True, connect_args=limit)
    pooler.tame(made.sync_engine)
    return made


def claimed(values: dict[str, Any]) -> ClaimedJob:
    """A job as a claim would give it; its lease is nobody's."""
    now = dt.datetime.now(dt.UTC)
    fixed: dict[str, Any] = {"lease_token": uuid.uuid4(), "deadline": now + dt.timedelta(hours=1), "crashes": 0}
    return ClaimedJob(**fixed, **values)
