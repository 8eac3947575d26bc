"""What waits for results cost others, and what they survive: floods of hints, odd isolation, engines that go."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncResults, Context, Enqueued, JobForge, Jobs, Results
from jobforge_sa.errors import JobDead, ResultTimeout
from jobforge_sa.results.bell import bell_of
from tests.support import Sql, call, wait_for

forge = JobForge(tenant="a")
LISTENING = "select from pg_stat_activity where query = 'listen jobforge_done'"


@forge.task()
def t(ctx: Context, payload: dict[str, int]) -> int:
    return 7


@pytest.fixture
def sql(shared: Sql, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sql]:
    monkeypatch.setattr("jobforge_sa.results.bell.LINGER", 0.0)
    wait_for(lambda: not shared.look(LISTENING), what="the last test's backend to be gone")
    yield shared
    shared.clean()


def engine_of(sql: Sql, **options: Any) -> sa.Engine:
    return sql.database.engine("jf_app", **options)


def enqueue(engine: sa.Engine, **options: Any) -> Enqueued:
    with Session(engine) as session:
        job = Jobs(session).enqueue(t, {"n": 1}, **options)
        session.commit()
    return job


class Waiter(threading.Thread):
    """Somebody who waits for a job; `answer` is what he got, or the error."""

    def __init__(self, engine: sa.Engine, job: Enqueued) -> None:
        super().__init__(daemon=True)
        self.engine, self.job = engine, job
        self.answer: Any = None
        self.start()

    def run(self) -> None:
        answer: Any
        try:
            answer = Results(self.engine).wait(t, self.job, timeout=30)
        except Exception as error:
            answer = error
        self.answer = answer


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE", "AUTOCOMMIT"])
def test_two_wait_for_one_job_whatever_the_engines_isolation(sql: Sql, isolation: str) -> None:
    """The second one's wait meets a row that is newer than its snapshot, were it not for READ COMMITTED."""
    engine, job = engine_of(sql, isolation_level=isolation), enqueue(engine_of(sql))
    holding = sql.connect(tenant="a")
    call(holding, "await_job", job_id=job.id)
    waiter = Waiter(engine, job)
    asked = "select from pg_stat_activity where wait_event_type = 'Lock' and usename = 'jf_app'"
    wait_for(lambda: sql.look(asked), what="the second to wait for the first")
    holding.commit()
    sql.complete(sql.claim_one(), result=7)
    waiter.join(20)
    assert waiter.answer == 7


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "AUTOCOMMIT"])
def test_a_dead_job_says_why_whatever_the_engines_isolation(sql: Sql, isolation: str) -> None:
    job = enqueue(engine_of(sql))
    sql.complete(sql.claim_one(), "failed", final=True, error={"type": "Discard", "message": "no such account"})
    with pytest.raises(JobDead, match="Discard: no such account"):
        Results(engine_of(sql, isolation_level=isolation)).wait(t, job)


def test_a_flood_of_hints_costs_a_few_looks_a_second(sql: Sql) -> None:
    """Anybody who may connect may send them."""
    engine, looks = engine_of(sql), Counter[bool]()
    job = enqueue(engine)
    waiter = Waiter(engine, job)
    wait_for(lambda: sql.look(LISTENING), what="the LISTEN")
    sa.event.listen(engine, "before_cursor_execute", lambda _c, _cursor, text, *_: looks.update(["_job(" in text]))
    flooder, until, sent = sql.session("jf_stranger"), time.monotonic() + 1, 0
    while time.monotonic() < until:
        flooder.execute("notify jobforge_done")
        sent += 1
    assert sent > 100
    assert 0 < looks[True] <= 30
    sql.complete(sql.claim_one(), result=7)
    waiter.join(20)
    assert waiter.answer == 7


def test_an_engine_that_nobody_has_any_more_is_let_go_with_its_bell(sql: Sql) -> None:
    engine = sa.create_engine(sql.database.url("jf_app"))
    with pytest.raises(ResultTimeout):
        Results(engine).wait(t, enqueue(engine), timeout=0.1)
    wait_for(lambda: not any(t.name == "jobforge-results" for t in threading.enumerate()), what="the thread to end")
    engine.dispose()
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None


def test_whatever_an_applications_listener_raises_hints_come_again(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, trouble = engine_of(sql), [RuntimeError("no token for the database"), OSError("nor a file with it")]
    job = enqueue(engine)

    @sa.event.listens_for(engine, "do_connect")
    def connect(*_: object) -> None:
        if threading.current_thread().name == "jobforge-results" and trouble:
            raise trouble.pop()

    waiter = Waiter(engine, job)
    wait_for(lambda: sql.look(LISTENING), what="the LISTEN")
    assert not trouble
    sql.complete(sql.claim_one(), result=7)
    waiter.join(20)
    assert waiter.answer == 7


def test_where_no_thread_can_be_started_waiting_is_looking(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, start = engine_of(sql), threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "jobforge-results":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    job = enqueue(engine)
    waiter = Waiter(engine, job)
    wait_for(lambda: sql.look("select from jobforge.waits"), what="the wait")
    sql.complete(sql.claim_one(), result=7)
    waiter.join(20)
    assert waiter.answer == 7
    assert bell_of(engine)._ears == {}


@pytest.mark.parametrize("timeout", [0, -1, -0.5])
def test_a_wait_without_time_looks_once(sql: Sql, timeout: float) -> None:
    engine = engine_of(sql)
    job = enqueue(engine)
    with pytest.raises(ResultTimeout):
        Results(engine).wait(t, job, timeout=timeout)
    sql.complete(sql.claim_one(), result=7)
    assert Results(engine).wait(t, job, timeout=timeout) == 7


def test_on_a_machine_that_has_just_started_the_database_is_asked_to_tell_as_well(
    sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(sql)
    job = enqueue(engine)
    monkeypatch.setattr("jobforge_sa.results.look.time", SimpleNamespace(monotonic=lambda: 3.0))
    with pytest.raises(ResultTimeout):
        Results(engine).wait(t, job, timeout=0)
    assert sql.look("select from jobforge.waits")


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_a_wait_that_is_cancelled_leaves_nothing_behind(sql: Sql, driver: str) -> None:
    job = enqueue(engine_of(sql))

    async def main() -> int:
        own = create_async_engine(sql.database.url("jf_app").set(drivername=f"postgresql+{driver}"))
        waits = [asyncio.create_task(AsyncResults(own).wait(t, job)) for _ in range(4)]
        ears = bell_of(own)._ears
        while len(ears) < 4:
            await asyncio.sleep(0.01)
        for n, wait in enumerate(waits):
            await asyncio.sleep(0.02 * n)
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        pool: Any = own.pool
        async with asyncio.timeout(10):
            while pool.checkedout():  # a look that had no connection yet ends when it has got it
                await asyncio.sleep(0.01)
        left = len(ears)
        await own.dispose()
        return left

    assert asyncio.run(main()) == 0


def test_a_cancel_that_the_driver_loses_counts_all_the_same(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    """As wait_for of Python 3.11 does to psycopg before 3.3, where an answer comes at the same moment."""
    job = enqueue(engine_of(sql))

    async def main() -> bool:
        looking = asyncio.Event()

        async def lose(*_: object) -> None:
            looking.set()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

        monkeypatch.setattr(AsyncResults, "_ask", lose)
        own = create_async_engine(sql.database.url("jf_app"))
        wait = asyncio.create_task(AsyncResults(own).wait(t, job))
        await looking.wait()
        wait.cancel()
        await asyncio.wait([wait], timeout=5)
        return wait.cancelled()

    assert asyncio.run(main())
