"""A handler on a test's own connection: a worker's executor, whose sessions stand on savepoints."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection, event
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import Session

from jobforge_sa.db import calls
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tracing import Span
from jobforge_sa.types import Outcome
from jobforge_sa.worker import session as sessions
from jobforge_sa.worker.ending import RELEASED, Ending
from jobforge_sa.worker.executor import Executor
from jobforge_sa.worker.run import Run

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

SAVEPOINTS: Any = "create_savepoint"  # what a commit of a session ends, instead of the test's transaction


class SavepointSession(sessions.HandlerSession):
    """A handler's session. Its commits end savepoints; the lease, the tenant and the completion are a worker's."""


@event.listens_for(SavepointSession, "before_commit")
def _check_constraints(session: Session) -> None:
    """What a commit would find: constraints that wait for it. They wait again behind it."""
    if not session.in_nested_transaction():
        look = session.connection().begin_nested()
        session.connection().execute(calls.CHECK_CONSTRAINTS)
        look.rollback()


class Handling(Executor):
    """Runs handlers on one connection, and keeps how the last one ended.

    Attributes:
        ending: How it ended.
        error: What it raised, if that was no outcome.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(
            connection.engine, _no_engine, self._ended, lambda _: nullcontext(Span()), completed=lambda _: None
        )
        self._connection = connection
        self.ending = RELEASED
        self.error: BaseException | None = None

    def handle(self, run: Run) -> None:
        """Run a job's handler to its end, here and now.

        Raises:
            ConfigurationError: it ended the transaction of the test; or it is async, and a loop runs in this thread.
        """
        self.ending, self.error = RELEASED, None
        root = self._connection.get_transaction()
        event.listen(self._connection, "commit", _refuse_to_end)
        event.listen(self._connection, "rollback", _refuse_to_end)
        try:
            if run.task.is_async:
                self._on_a_loop(run)
            else:
                self.run(run)
        finally:
            event.remove(self._connection, "commit", _refuse_to_end)
            event.remove(self._connection, "rollback", _refuse_to_end)
        if root is None or not root.is_active:
            # SQLAlchemy takes it for ended, and would give it back to the pool as it stands: open, for the next test
            self._connection.invalidate()
            raise _ended_the_test(run) from self.error

    def open(self, run: Run) -> SavepointSession:
        """The session of a plain handler."""
        return SavepointSession(self._connection, join_transaction_mode=SAVEPOINTS, info=sessions.info(run))

    def open_async(self, run: Run) -> AsyncSession:
        """The session of an async handler: on the same connection, whether that waits or blocks."""
        from sqlalchemy.ext.asyncio import AsyncSession

        from jobforge_sa.testing.drain.blocking import BlockingAsyncSession

        kind = AsyncSession if self._connection.dialect.is_async else BlockingAsyncSession
        made: Any = lambda **_: self.open(run)  # noqa: E731 - the class of a session, to AsyncSession
        return kind(sync_session_class=made)

    def failed(self, run: Run, error: BaseException) -> Ending:
        """Remember what was raised."""
        self.error = None if isinstance(error, Outcome) else error
        return super().failed(run, error)

    def _ended(self, _run: Run, ending: Ending) -> None:
        self.ending = ending

    def _on_a_loop(self, run: Run) -> None:
        if not _loop_runs():
            asyncio.run(self.run_async(run))
            return
        from sqlalchemy.util import await_only

        async def in_a_task() -> None:  # whose context variables are its own
            await asyncio.create_task(self.run_async(run))

        try:
            await_only(in_a_task())
        except MissingGreenlet as error:
            raise ConfigurationError(
                f"the handler of {run.job.type} is async, and drain was called where a loop runs already",
                cure="await async_drain(session, forge), with an AsyncSession",
            ) from error


def _loop_runs() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _no_engine() -> NoReturn:
    raise AssertionError("async handlers' sessions stand on the test's connection")


def _refuse_to_end(_: Connection) -> NoReturn:
    raise ConfigurationError(
        "a handler ends the transaction of the test: it has called commit() or rollback() on the connection itself",
        cure="commit by ctx.session.commit(): in a worker, too, the connection belongs to the session",
    )


def _ended_the_test(run: Run) -> ConfigurationError:
    return ConfigurationError(
        f"the handler of job {run.job.id} ({run.job.type}) has ended the transaction of the test",
        cure="commit by ctx.session.commit(): in a worker, too, the connection belongs to the session",
    )
