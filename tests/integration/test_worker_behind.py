"""What a handler may do around its last commit: late, wrongly, or for ever behind it; and work that only looks idle."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
import sqlalchemy.orm
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from jobforge_sa import AsyncContext, Cancel, Context, JobForge, Retry, Snooze, Worker
from jobforge_sa.types import Release
from tests.support import Sql, one_database, wait_for

Payload = dict[str, Any]
NOTE = sa.text("insert into notes values (:note)")
MANY = sa.text("select n from generate_series(1, 40) n")
SECOND = dt.timedelta(seconds=1)
gate, reached = threading.Event(), threading.Event()


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        sql.session("postgres").execute("create table notes (note text primary key); grant all on notes to jf_one")
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    gate.clear()
    reached.clear()
    yield shared
    gate.set()
    shared.clean()
    shared.session("postgres").execute("truncate notes")


@pytest.fixture(scope="module", params=["psycopg", "psycopg2"])
def engine(request: pytest.FixtureRequest, shared: Sql) -> Iterator[sa.Engine]:
    engine = sa.create_engine(shared.database.url("jf_one").set(drivername=f"postgresql+{request.param}"))
    yield engine
    engine.dispose()


def notes(sql: Sql) -> list[str]:
    return [row["note"] for row in sql.look("select note from notes order by note")]


def one(handler: Callable[..., Any], **options: Any) -> JobForge:
    forge = JobForge(tenant="a")
    forge.task("t", **options)(handler)
    return forge


# --- behind the completion ----------------------------------------------------------------------------------------


def stays(ctx: Context, payload: Payload) -> None:
    ctx.complete()
    if payload.get("transaction"):
        ctx.session.execute(sa.text("select 1"))
    reached.set()
    assert gate.wait(30)


def test_a_handler_that_hangs_behind_its_completion_is_timed_out_and_gives_its_slot_back(
    engine: sa.Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobforge_sa.worker.deadlines.PATIENCE", 0.2)
    job = sql.enqueue("a", timeout="200 milliseconds")
    with Worker(engine, one(stays), session_engine=engine, concurrency=1) as worker:
        assert reached.wait(10)
        wait_for(lambda: worker.stats()["abandoned"], what="its thread to be left behind")
        gate.set()
        other = sql.enqueue("a")
        wait_for(lambda: sql.state(other) == "succeeded", what="the slot")
    assert sql.state(job) == "succeeded"
    assert worker.outcomes == {"succeeded": 2}
    assert [row["outcome"] for row in sql.attempts(job)] == ["succeeded"]


def test_a_stop_waits_for_what_a_handler_does_behind_its_completion(engine: sa.Engine, sql: Sql) -> None:
    ended: list[bool] = []

    def mails(ctx: Context, payload: Payload) -> None:
        stays(ctx, payload)
        ended.append(True)

    sql.enqueue("a")
    worker = Worker(engine, one(mails), session_engine=engine).start()
    assert reached.wait(10)
    stopping = threading.Thread(target=lambda: ended.append(worker.stop(20)))
    stopping.start()
    wait_for(lambda: worker._claimer.stopping, what="the stop")
    assert not worker.drain(0)
    gate.set()
    stopping.join(20)
    assert ended == [True, True]


def test_one_that_does_not_end_behind_its_completion_is_asked_to_and_then_left(engine: sa.Engine, sql: Sql) -> None:
    told: list[bool] = []

    def looks(ctx: Context, payload: Payload) -> None:
        ctx.complete()
        reached.set()
        wait_for(lambda: ctx.canceled, what="the word")
        told.append(True)

    sql.enqueue("a")
    worker = Worker(engine, one(looks), session_engine=engine).start()
    assert reached.wait(10)
    assert worker.stop(0)
    assert told == [True]


def test_a_transaction_that_is_left_open_behind_the_completion_is_ended_too(engine: sa.Engine, sql: Sql) -> None:
    job = sql.enqueue("a", payload={"transaction": True})
    with Worker(engine, one(stays), session_engine=engine, idle_limit=dt.timedelta(seconds=0.3)) as worker:
        wait_for(lambda: worker.stats()["overstayed"], what="its end")
        gate.set()
    assert (sql.state(job), worker.outcomes) == ("succeeded", {"succeeded": 1})


# --- the completion itself ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "result", [Snooze(SECOND), Release(), Cancel("no"), Retry(), "\x00", {"a": "\ud800"}, float("nan")]
)
def test_what_is_no_result_completes_nothing_and_the_handler_can_go_on(
    engine: sa.Engine, sql: Sql, result: Any
) -> None:
    refused: list[str] = []

    def tries(ctx: Context, payload: Payload) -> None:
        ctx.session.execute(NOTE, {"note": "undone"})
        try:
            ctx.complete(result)
        except ValueError as error:
            refused.append(str(error))
        ctx.session.rollback()
        ctx.session.execute(NOTE, {"note": "done"})
        ctx.complete("better")

    job = sql.enqueue("a")
    with Worker(engine, one(tries), session_engine=engine) as worker:
        assert worker.drain(10)
    assert len(refused) == 1
    assert refused[0]
    assert (sql.job(job)["result"], notes(sql), worker.outcomes) == ("better", ["done"], {"succeeded": 1})


def test_a_flush_that_fails_in_the_completion_leaves_the_job_to_be_completed_again(engine: sa.Engine, sql: Sql) -> None:
    class Base(sa.orm.DeclarativeBase): ...

    class Note(Base):
        __tablename__ = "notes"
        note: sa.orm.Mapped[str] = sa.orm.mapped_column(primary_key=True)

    def tries(ctx: Context, payload: Payload) -> None:
        ctx.session.add(Note(note="there"))
        with pytest.raises(IntegrityError):
            ctx.complete(1)
        ctx.session.rollback()
        ctx.session.add(Note(note="new"))
        with ctx.session.begin_nested():
            ctx.session.add(Note(note="nested"))
        savepoint = ctx.session.begin_nested()
        ctx.session.add(Note(note="open"))
        ctx.complete(2)
        assert not savepoint.is_active

    sql.session("postgres").execute("insert into notes values ('there')")
    job = sql.enqueue("a")
    with Worker(engine, one(tries), session_engine=engine) as worker:
        assert worker.drain(10)
    assert (sql.job(job)["result"], notes(sql)) == (2, ["nested", "new", "open", "there"])
    assert worker.outcomes == {"succeeded": 1}


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
def test_a_completion_that_cannot_be_serialized_is_repeated_and_a_wait_is_no_reason_for_it(
    engine: sa.Engine, sql: Sql, isolation: str
) -> None:
    turns: list[int] = []

    def counts(ctx: Context, payload: Payload) -> None:
        turns.append(len(turns))
        ctx.session.execute(sa.text("select * from notes"))
        if len(turns) == 1:
            sql.session("postgres").execute("update notes set note = 'theirs' where note = 'there'")
        sql("await_job", tenant="a", job_id=ctx.job.id)
        ctx.session.execute(sa.text("update notes set note = 'ours' where note in ('there', 'theirs')"))
        ctx.complete(len(turns))

    sql.session("postgres").execute("insert into notes values ('there')")
    job = sql.enqueue("a")
    sql("await_job", tenant="a", job_id=job)
    strict = sa.create_engine(engine.url, isolation_level=isolation)
    with Worker(engine, one(counts), session_engine=strict) as worker:
        assert worker.drain(10)
    strict.dispose()
    assert (sql.job(job)["result"], notes(sql), len(turns)) == (2, ["ours"], 2)


# --- what only looks idle -----------------------------------------------------------------------------------------


def streams(ctx: Context, payload: Payload) -> None:
    rows = ctx.session.execute(MANY.execution_options(yield_per=1))
    if payload.get("write"):
        ctx.session.execute(NOTE, {"note": "while it reads"})
    for _ in rows:
        time.sleep(0.05)  # 2 s in all, in which there is no statement, and a fetch every 50 ms


def copies(ctx: Context, payload: Payload) -> None:
    driver: Any = ctx.session.connection().connection.driver_connection
    if hasattr(driver, "pgconn"):
        with driver.cursor() as cursor, cursor.copy("copy notes from stdin") as copy:
            for n in range(20):
                copy.write_row((f"{n:02}",))
                time.sleep(0.1)
    else:
        driver.cursor().execute("select pg_sleep(2)")


@pytest.mark.parametrize("handler", [streams, copies])
@pytest.mark.parametrize("write", [False, True])
def test_work_without_statements_is_not_idle(engine: sa.Engine, sql: Sql, handler: Any, *, write: bool) -> None:
    job = sql.enqueue("a", payload={"write": write})
    with Worker(engine, one(handler), session_engine=engine, idle_limit=dt.timedelta(seconds=0.7)) as worker:
        assert worker.drain(20)
    assert (sql.state(job), worker.stats()["overstayed"]) == ("succeeded", 0)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_neither_is_an_async_stream(engine: sa.Engine, sql: Sql, driver: str) -> None:
    async def reads(ctx: AsyncContext, payload: Payload) -> None:
        async for _ in await ctx.session.stream(MANY.execution_options(yield_per=1)):
            await asyncio.sleep(0.05)

    job = sql.enqueue("a")
    own = create_async_engine(sql.database.url("jf_one").set(drivername=f"postgresql+{driver}"))
    with Worker(engine, one(reads), async_session_engine=own, idle_limit=dt.timedelta(seconds=0.7)) as worker:
        assert worker.drain(20)
    assert (sql.state(job), worker.stats()["overstayed"]) == ("succeeded", 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the stream is broken off
def test_a_stream_that_is_read_no_further_is_idle_and_its_retry_works(sql: Sql) -> None:
    def pauses(ctx: Context, payload: Payload) -> None:
        rows = ctx.session.execute(MANY.execution_options(yield_per=1))
        next(rows)
        if ctx.job.attempt == 1:
            assert gate.wait(30)
        assert len(rows.all()) == 39

    job = sql.enqueue("a", retry={"delays": [0]})
    with Worker(sql.database.engine("jf_one"), one(pauses), idle_limit=dt.timedelta(seconds=0.7)) as worker:
        wait_for(lambda: worker.stats()["overstayed"], what="its end")
        gate.set()
        wait_for(lambda: sql.state(job) == "succeeded", what="the retry")
    assert [(row["outcome"], (row["error"] or {}).get("type")) for row in sql.attempts(job)] == [
        ("failed", "IdleInTransaction"),
        ("succeeded", None),
    ]
    gc.collect()
