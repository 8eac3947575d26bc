"""A handler whose transaction Postgres wants repeated is run again within its attempt, and is not charged for it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, Worker
from jobforge_sa.worker import executor
from tests.fix_postgres import Database

READ_SLOWLY = sa.text("select n from counter, pg_sleep(0.02)")
READ, WRITE = sa.text("select n from counter"), sa.text("update counter set n = :n")


class Number(BaseModel):
    n: int


class Counter:
    """Handlers that read a number and write the next one, at SERIALIZABLE: two at once clash."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.engine().begin() as connection:
            connection.exec_driver_sql("create table counter (n int); insert into counter values (0)")
            connection.exec_driver_sql("grant all on counter to jf_one")
        self.engine = database.engine("jf_one", isolation_level="SERIALIZABLE")
        self.forge = JobForge(tenant="a")
        self.turns = 0
        self.both = threading.Barrier(2)

        @self.forge.task(max_attempts=1)
        def plain(ctx: Context, payload: Number) -> None:
            found = ctx.session.scalar(READ)
            assert found is not None
            self._meet()
            ctx.session.execute(WRITE, {"n": found + 1})

        @self.forge.task(max_attempts=1)
        async def asynchronous(ctx: AsyncContext, payload: Number) -> None:
            found = await ctx.session.scalar(READ)
            self.turns += 1
            await ctx.session.execute(WRITE, {"n": found + 1})

        @self.forge.task(max_attempts=1)
        def hopeless(ctx: Context, payload: Number) -> None:
            self.turns += 1
            ctx.session.execute(sa.text("do $$ begin raise serialization_failure; end $$"))

        @self.forge.task(max_attempts=1)
        def wrong(ctx: Context, payload: Number) -> None:
            self.turns += 1
            ctx.session.execute(sa.text("select 1 / 0"))

        @self.forge.task(max_attempts=1)
        def crowded(ctx: Context, payload: Number) -> None:
            ctx.session.execute(WRITE, {"n": ctx.session.execute(READ_SLOWLY).scalar_one() + 1})

        @self.forge.task(max_attempts=1)
        async def crowded_async(ctx: AsyncContext, payload: Number) -> None:
            await ctx.session.execute(WRITE, {"n": await ctx.session.scalar(READ_SLOWLY) + 1})

        self.plain, self.asynchronous, self.hopeless, self.wrong = plain, asynchronous, hopeless, wrong
        self.crowds = {"crowded": crowded, "crowded_async": crowded_async}

    def _meet(self) -> None:
        """The first two turns read before either has written."""
        self.turns += 1
        if self.turns <= 2:
            self.both.wait(10)

    def run(self, task: Any, jobs: int, slots: int = 10) -> dict[str, int]:
        with Session(self.database.engine("jf_one")) as session, session.begin():
            for n in range(jobs):
                Jobs(session).enqueue(task, Number(n=n))
        beside = create_async_engine(self.engine.url, isolation_level="SERIALIZABLE")
        worker = Worker(
            self.database.engine("jf_one"),
            self.forge,
            session_engine=self.engine,
            async_session_engine=beside,
            concurrency=slots,
        )
        with worker:
            assert worker.drain(30)
        return dict(worker.outcomes)

    def value(self) -> int:
        with self.database.engine().connect() as connection:
            return int(connection.scalar(READ) or 0)

    def attempts(self) -> list[tuple[str, int]]:
        with self.database.engine().connect() as connection:
            rows = connection.execute(sa.text("select outcome, attempt from jobforge.attempts order by job_id, run"))
            return [(row.outcome, row.attempt) for row in rows]


@pytest.fixture
def counter(database: Database) -> Counter:
    return Counter(database)


def test_fault_024_handlers_that_clash_all_succeed_at_their_first_attempt(counter: Counter) -> None:
    assert counter.run(counter.plain, 2) == {"succeeded": 2}
    assert counter.value() == 2
    assert counter.turns >= 3
    assert counter.attempts() == [("succeeded", 1)] * 2


def test_fault_024_async_handlers_that_clash_do_so_too(counter: Counter) -> None:
    assert counter.run(counter.asynchronous, 5) == {"succeeded": 5}
    assert counter.value() == 5
    assert counter.attempts() == [("succeeded", 1)] * 5


def test_what_clashes_for_ever_fails_after_some_turns(counter: Counter) -> None:
    assert counter.run(counter.hopeless, 1) == {"failed": 1}
    assert counter.turns == executor.MAX_TURNS
    assert counter.attempts() == [("failed", 1)]


def test_another_error_is_not_repeated(counter: Counter) -> None:
    assert counter.run(counter.wrong, 1) == {"failed": 1}
    assert counter.turns == 1


@pytest.mark.parametrize("name", ["crowded", "crowded_async"])
def test_a_crowd_that_clashes_goes_one_after_the_other_and_nobody_fails(counter: Counter, name: str) -> None:
    assert counter.run(counter.crowds[name], jobs=30, slots=30) == {"succeeded": 30}
    with counter.engine.connect() as connection:
        assert connection.scalar(READ) == 30
