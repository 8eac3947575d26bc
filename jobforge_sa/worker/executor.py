"""Run one claimed job: payload, handler, ending, and the commit that holds them together. No policy, no SQL."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any

import pydantic
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa import tracing
from jobforge_sa.context import AsyncContext, ClaimedJob, Context, current_job
from jobforge_sa.db import failures
from jobforge_sa.errors import LeaseLost
from jobforge_sa.tracing import Span
from jobforge_sa.types import Done, Outcome
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker import errortext
from jobforge_sa.worker import session as sessions
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.run import Run
from jobforge_sa.worker.voice import log

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession


MAX_TURNS = 8  # of one attempt: whoever clashes so often fails it, and the job's retry policy decides
SINGLE = 2  # turns, and those who have clashed so often go one after the other: 30 at once left 19 without success
SPARED = 3  # runs of a job that are not charged: a line that is cut each time, by what stands between, is no accident
SINGLE_WAIT = 5.0  # seconds for that, as long as a handler that ignores its timeout is waited for
CANCELED = "57014"  # query_canceled

Report = Callable[[Run, Ending], None]
Trace = Callable[[ClaimedJob], AbstractContextManager[Span]]


class Executor:
    """Runs handlers and hands on how they ended.

    Args:
        engine: Where handlers' sessions connect.
        async_engine: Makes the engine of async handlers' sessions, when the first one asks for its session.
        report: Takes each run's ending.
        trace: Opens the span in which a run goes on.
        completed: Hears of a run that its handler has completed, and that goes on. Default: it is reported.
    """

    def __init__(
        self, engine: Engine, async_engine: Callable[[], AsyncEngine], report: Report, trace: Trace,
        completed: Callable[[Run], None] | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._async_engine = async_engine
        self._report = report
        self._trace = trace
        self._single, self._single_async = threading.Lock(), asyncio.Lock()
        self._completed = completed or (lambda run: report(run, endings.COMPLETED))

    def run(self, run: Run) -> None:
        """Run a plain handler, in this thread, and report its end, whatever happens."""
        run.start()
        ending = endings.RELEASED
        current = current_job.set(run.job)
        try:
            ending = self._end_traced(run) if tracing.in_use() else self._end(run)
        finally:
            current_job.reset(current)
            self._report(run, ending)

    def _end_traced(self, run: Run) -> Ending:
        with self._trace(run.job) as span:
            ending = self._end(run)
            describe(span, ending)
            return ending

    def _end(self, run: Run) -> Ending:
        try:
            return self._turns(run)
        except BaseException as error:  # SystemExit out of a handler ends the job, not the worker
            return self.failed(run, error)

    def _turns(self, run: Run) -> Ending:
        """Run the handler; again, where Postgres says that its transaction should be repeated."""
        for turn in range(MAX_TURNS):
            complete = partial(self._complete, run)
            ctx = Context(run.job, run, lambda: self.open(run), complete)
            single = turn >= SINGLE and self._single.acquire(timeout=SINGLE_WAIT)
            try:
                return self._handle(ctx, run)
            except Exception as error:
                if ctx.completed:
                    return _behind(run, error)
                if not _repeat(run, error, turn):
                    raise
            finally:
                _closed(ctx.opened_session)
                if single:
                    self._single.release()
            time.sleep(_pause(turn))
        raise AssertionError("the last turn has returned or raised")

    def _handle(self, ctx: Context, run: Run) -> Ending:
        payload = _load(run)
        run.cancel = run.cancel_statement
        value = run.task.handler(ctx, payload)
        run.cancel = None  # the handler is through: a late word must not tear its completion apart
        if ctx.completed:
            return _behind(run, value)
        ending = endings.of_value(value)
        session = ctx.opened_session
        if session is None or not session.in_transaction() or _invalid(value, ending):
            return ending
        sessions.complete(session, ending.item(run))
        return endings.committed(ending)

    async def run_async(self, run: Run) -> None:
        """Run an `async def` handler, on this loop, and report its end, whatever happens."""
        run.start()
        ending = endings.RELEASED
        current_job.set(run.job)  # in this asyncio task's own context
        try:
            with self._trace(run.job) as span:
                ending = await self._end_async(run)
                describe(span, ending)
        finally:
            self._report(run, ending)

    async def _end_async(self, run: Run) -> Ending:
        try:
            return await self._turns_async(run)
        except asyncio.CancelledError as error:
            # where we did not ask for it, it leaked out of something that the handler waited for: an attempt that is
            # charged, for one that is given back would run again at once, for ever
            return told(run) if run.should_stop else self.failed(run, error)
        except BaseException as error:
            return self.failed(run, error)

    async def _turns_async(self, run: Run) -> Ending:
        for turn in range(MAX_TURNS):
            ctx = AsyncContext(run.job, run, lambda: self.open_async(run), partial(self._complete, run))
            single = turn >= SINGLE and await _acquired(self._single_async)
            try:
                return await self._handle_async(ctx, run)
            except Exception as error:
                if ctx.completed:
                    return _behind(run, error)
                if not _repeat(run, error, turn):
                    raise
            finally:
                await _closed_async(ctx.opened_session)
                if single:
                    self._single_async.release()
            await asyncio.sleep(_pause(turn))
        raise AssertionError("the last turn has returned or raised")

    async def _handle_async(self, ctx: AsyncContext, run: Run) -> Ending:
        payload = _load(run)
        timeout = run.job.timeout.total_seconds() if run.job.timeout is not None else None
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                value = await run.task.handler(ctx, payload)
        except TimeoutError as error:
            if limit.expired():
                return _behind(run, error) if ctx.completed else endings.TIMED_OUT
            raise  # the handler's own
        run.cancel = None
        if ctx.completed:
            return _behind(run, value)
        ending = endings.of_value(value)
        session = ctx.opened_session
        if session is None or not session.in_transaction() or _invalid(value, ending):
            return ending
        item = ending.item(run)
        await session.run_sync(lambda sync: sessions.complete(sync, item))
        return endings.committed(ending)

    def _complete(self, run: Run, session: Session, result: object) -> None:
        """The handler completes its job itself."""
        ending = endings.of_value(Done(result))
        if ending.outcome != "succeeded":
            raise ValueError((ending.error or {}).get("message") or f"a {type(result).__name__} is no result")
        sessions.complete(session, ending.item(run))
        self._completed(run)

    def open(self, run: Run) -> sessions.HandlerSession:
        """A session for a run of a plain handler."""
        return sessions.open_session(self._engine, run)

    def open_async(self, run: Run) -> AsyncSession:
        """A session for a run of an async handler."""
        from sqlalchemy.ext.asyncio import AsyncSession

        return AsyncSession(self._async_engine(), sync_session_class=sessions.HandlerSession, info=sessions.info(run))

    def failed(self, run: Run, error: BaseException) -> Ending:
        """The end of a run out of which an error came; it is logged."""
        return failed(run, error)


def _behind(run: Run, what: object) -> Ending:
    """The end of a job that its handler has completed; what came behind that changes nothing, and is said."""
    if what is not None:
        how = "was raised" if isinstance(what, BaseException) else "was returned, which is not stored,"
        said = f"a {type(what).__name__} {how} after its handler had completed it"
        log.warning("job %s (%s): %s", run.job.id, run.job.type, said, extra=run.job.log_fields())
    return endings.COMMITTED


def _repeat(run: Run, error: Exception, turn: int) -> bool:
    """Whether Postgres has undone the transaction and would take it if it came again."""
    state = failures.sqlstate(error) if isinstance(error, DBAPIError) else None
    if state not in failures.REPEATABLE or turn + 1 == MAX_TURNS or run.should_stop:
        return False
    said = "its transaction is repeated"
    log.info("job %s (%s): %s, %s", run.job.id, run.job.type, state, said, extra=run.job.log_fields())
    return True


async def _acquired(lock: asyncio.Lock) -> bool:
    try:
        async with asyncio.timeout(SINGLE_WAIT):
            return await lock.acquire()
    except TimeoutError:
        return False


def _pause(turn: int) -> float:
    """10, 20, 40 ... ms, half of it by chance, so that those who clashed do not meet again."""
    return 0.01 * 2.0**turn * (0.5 + random.random() / 2)


class PayloadRejected(Exception):
    """The payload is not what the task takes (any more). Apart from a handler's own validation errors."""

    def __init__(self, error: pydantic.ValidationError) -> None:
        super().__init__(str(error))
        self.error = error


def _invalid(value: object, ending: Ending) -> bool:
    """Whether it is the result that failed, and not the handler that said so: then its work is rolled back."""
    return ending.outcome == "failed" and not isinstance(value, Outcome)


def _load(run: Run) -> Any:
    try:
        return run.task.load(run.job.payload)
    except pydantic.ValidationError as error:
        raise PayloadRejected(error) from error


def failed(run: Run, error: BaseException) -> Ending:
    """The end of a run out of which an error came; it is logged."""
    try:
        return _judged(run, error)
    except BaseException:  # out of memory while describing it: the run must end all the same
        return Ending("failed", error={"type": type(error).__name__, "message": ""})


def _judged(run: Run, error: BaseException) -> Ending:
    match error:
        case PayloadRejected():
            ending = endings.of_payload(error.error)
        case sessions.CompletionRefused():
            ending = endings.refused(str(error))
        case LeaseLost():
            return endings.of_error(error)  # the reporter hears that it does not count, and says so
        case Outcome():
            return endings.of_error(error)
        case DBAPIError() if failures.sqlstate(error) == CANCELED and run.should_stop:
            return told(run)
        case DBAPIError() | sessions.CutOff() if run.overstayed:
            ending = endings.OVERSTAYED
        case sessions.CutOff() if run.job.run - run.job.attempt < SPARED:
            # where the commit came through all the same, giving it back finds no lease, and changes nothing
            said = "the connection was cut at its last commit, it is given back"
            log.warning("job %s (%s): %s", run.job.id, run.job.type, said, extra=run.job.log_fields())
            return told(run)
        case sessions.CutOff():
            ending = endings.of_error(error.__cause__ or error)
        case _:
            ending = endings.of_error(error)
    say(run, ending)
    return ending


def told(run: Run) -> Ending:
    """The end of what was stopped by us: what it was stopped for."""
    if run.canceled:
        return Ending("canceled")
    return endings.TIMED_OUT if run.timed_out else endings.RELEASED


def describe(span: Span, ending: Ending) -> None:
    """Say on a run's span how it ended, in the words of the job's record, out of which secrets were taken."""
    span.say({"jobforge.outcome": ending.outcome})
    if ending.outcome in ("failed", "timed_out"):
        error = ending.error or {}
        span.failed(error.get("type", ending.outcome), error.get("message"))


def say(run: Run, ending: Ending) -> None:
    """One line for a failed attempt; its text came from anywhere, so it may not forge lines of its own."""
    job, error = run.job, ending.error or {}
    kind, text = (_one_line(error.get(name, "")) for name in ("type", "message"))
    place = errortext.place(error.get("traceback", ""))
    with contextlib.suppress(Exception):  # an application's log handler that raises must not cost the job its end
        log.warning(
            "job %s (%s) attempt %s failed: %s: %s%s", job.id, job.type, job.attempt, kind, text,
            place and f" ({_one_line(place)})", extra=job.log_fields(),
        )  # fmt: skip


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:200])


def _closed(session: Session | None) -> None:
    try:
        if session is not None:
            session.close()
    except BaseException:
        log.debug("closing a handler's session failed", exc_info=True)


async def _closed_async(session: AsyncSession | None) -> None:
    try:
        if session is not None:
            await asyncio.shield(session.close())
    except BaseException:
        log.debug("closing a handler's session failed", exc_info=True)
