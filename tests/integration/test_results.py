"""Results: waited for over one LISTEN in a process, typed, and found by polling where no hint comes."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncResults, Context, Discard, Done, Enqueued, JobForge, Jobs, Results, Retry, Worker
from jobforge_sa.errors import (
    ConfigurationError,
    InvalidJob,
    InvalidResult,
    JobCanceled,
    JobDead,
    JobNotFound,
    ResultTimeout,
)
from jobforge_sa.results.bell import bell_of
from tests.support import Sql, wait_for


class Sum(BaseModel):
    total: int


@dataclass
class Numbers:
    a: int
    b: int


forge = JobForge(tenant="a")
OPEN = "select pid from pg_stat_activity where usename = 'jf_app' and query <> 'listen jobforge_done'"


@forge.task()
def add(ctx: Context, payload: Numbers) -> Sum:
    return Sum(total=payload.a + payload.b)


@forge.task()
def wrapped(ctx: Context, payload: Numbers) -> Done | Retry:
    return Done([payload.a, payload.b])


@forge.task()
def either(ctx: Context, payload: Numbers) -> Sum | Retry:
    return Sum(total=7)


@forge.task()
def nothing(ctx: Context, payload: dict[str, int]) -> None: ...


@forge.task()
def unreadable(ctx: Context, payload: dict[str, int]) -> Iterator[int]:
    yield 1


@forge.task()
def fails(ctx: Context, payload: dict[str, int]) -> None:
    raise Discard("no such account")


@pytest.fixture(scope="module")
def engine(shared: Sql) -> Iterator[sa.Engine]:
    engine = sa.create_engine(shared.database.url("jf_one"))
    yield engine
    engine.dispose()


def enqueue(engine: sa.Engine, task: Any = add, payload: Any = None, **options: Any) -> Enqueued:
    with Session(engine) as session:
        job = Jobs(session).enqueue(task, payload or Numbers(2, 3), **options)
        session.commit()
    return job


def test_a_result_comes_with_the_type_that_the_handler_is_annotated_with(engine: sa.Engine, sql: Sql) -> None:
    jobs = enqueue(engine), enqueue(engine, wrapped), enqueue(engine, nothing, {"n": 1})
    with Worker(engine, forge):
        results = Results(engine)
        assert results.wait(add, jobs[0], timeout=10) == Sum(total=5)
        assert cast(Any, results.wait(wrapped, jobs[1].id, timeout=10)) == [2, 3]
        assert results.wait(either, enqueue(engine, either), timeout=10) == Sum(total=7)
        assert results.wait(nothing, jobs[2], timeout=10) is None
    assert Results(engine, tenant="a").wait(add, jobs[0], timeout=0) == Sum(total=5)


def test_who_waits_is_told_at_once_and_by_one_connection_for_all(engine: sa.Engine, sql: Sql) -> None:
    jobs = [enqueue(engine, add, Numbers(n, n)) for n in range(20)]
    found: dict[int, Sum] = {}

    def wait(n: int) -> None:
        found[n] = Results(engine).wait(add, jobs[n], timeout=30)

    threads = [threading.Thread(target=wait, args=[n]) for n in range(20)]
    for thread in threads:
        thread.start()
    wait_for(lambda: sql.look("select count(*) as n from jobforge.waits")[0]["n"] == 20, what="20 to wait")
    listening = "select count(*) as n from pg_stat_activity where query = 'listen jobforge_done'"
    wait_for(lambda: sql.look(listening)[0]["n"] == 1, what="one connection to listen")
    with Worker(engine, forge):
        for thread in threads:
            thread.join(30)
    assert {n: result.total for n, result in found.items()} == {n: 2 * n for n in range(20)}
    assert sql.look("select * from jobforge.waits") == []


def test_a_hint_makes_the_wait_end_before_its_next_look(
    engine: sa.Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobforge_sa.results.look.FIRST", 60.0)
    monkeypatch.setattr("jobforge_sa.results.look.LONGEST", 60.0)
    job = enqueue(engine)
    ended: list[float] = []

    def wait() -> None:
        Results(engine).wait(add, job, timeout=50)
        ended.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: sql.look("select from jobforge.waits"), what="the wait")
    wait_for(lambda: sql.look("select from pg_stat_activity where query = 'listen jobforge_done'"), what="the LISTEN")
    with Worker(engine, forge):
        thread.join(20)
    assert ended, "no hint came"


def test_without_hints_polling_finds_the_end(engine: sa.Engine, sql: Sql) -> None:
    job = enqueue(engine)
    run = sql.claim_one(types=["add"])
    done = threading.Event()

    def wait() -> None:
        Results(engine).wait(add, job, timeout=30)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: sql.look("select from jobforge.waits"), what="the wait")
    sql.session("postgres").execute("delete from jobforge.waits")  # its end will not be told
    sql.complete(run, result={"total": 7})
    assert done.wait(20)
    thread.join()


def test_a_connection_that_breaks_while_we_wait_is_opened_again(engine: sa.Engine, sql: Sql) -> None:
    job = enqueue(engine)
    thread = threading.Thread(target=lambda: Results(engine).wait(add, job, timeout=30))
    thread.start()
    asked = "select pg_terminate_backend(pid) from pg_stat_activity where query = 'listen jobforge_done'"
    wait_for(lambda: sql.look(asked), what="the LISTEN")
    wait_for(lambda: not sql.look(asked.replace("pg_terminate_backend(pid)", "")), what="its end")
    wait_for(lambda: sql.look(asked.replace("pg_terminate_backend(pid)", "")), what="another LISTEN")
    with Worker(engine, forge):
        thread.join(20)
    assert not thread.is_alive()


def test_ends_without_a_result_say_how_it_ended(engine: sa.Engine, sql: Sql) -> None:
    results = Results(engine)
    dead, canceled = enqueue(engine, fails, {"n": 1}), enqueue(engine, delay=None, queue="nobody")
    with Session(engine) as session:
        Jobs(session, tenant="a").cancel(canceled.id)
        session.commit()
    with Worker(engine, forge), pytest.raises(JobDead, match="no such account") as caught:
        results.wait(fails, dead, timeout=10)
    assert caught.value.error["type"] == "Discard"
    with pytest.raises(JobCanceled):
        results.wait(add, canceled)
    with pytest.raises(ResultTimeout, match=r"within 0\.1 s"):
        results.wait(add, enqueue(engine), timeout=0.1)


def test_a_cancel_is_told_as_well(engine: sa.Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobforge_sa.results.look.FIRST", 60.0)
    job, ends = enqueue(engine), list[str]()

    def wait() -> None:
        try:
            Results(engine).wait(add, job, timeout=50)
        except JobCanceled:
            ends.append("canceled")

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for(lambda: sql.look("select from jobforge.waits"), what="the wait")
    wait_for(lambda: sql.look("select from pg_stat_activity where query = 'listen jobforge_done'"), what="the LISTEN")
    sql("cancel_job", tenant="a", job_id=job.id)
    thread.join(20)
    assert ends == ["canceled"]


def test_a_job_that_is_not_committed_or_another_tenants_is_not_found(engine: sa.Engine, sql: Sql) -> None:
    with Session(engine) as session:
        job = Jobs(session).enqueue(add, Numbers(1, 1))
        with pytest.raises(JobNotFound, match="commit the transaction"):
            Results(engine).wait(add, job, timeout=5)
    foreign = enqueue(engine)
    with pytest.raises(JobNotFound):
        Results(engine, tenant="b").wait(add, foreign, timeout=5)
    with pytest.raises(InvalidJob):
        Results(engine).wait(add, "no id")  # type: ignore[arg-type]


def test_a_result_that_no_longer_fits_is_said_without_its_value(engine: sa.Engine, sql: Sql) -> None:
    job = enqueue(engine)
    sql.complete(sql.claim_one(types=["add"]), result={"secret": "hunter2"})
    with pytest.raises(InvalidResult, match="total") as caught:
        Results(engine).wait(add, job, timeout=5)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_waits_share_the_loop_and_are_told_as_well(engine: sa.Engine, sql: Sql, driver: str) -> None:
    jobs = [enqueue(engine, add, Numbers(n, n)) for n in range(5)]

    async def main() -> list[Sum]:
        own = create_async_engine(sql.database.url("jf_app").set(drivername=f"postgresql+{driver}"))
        try:
            waits = [AsyncResults(own).wait(add, job, timeout=20) for job in jobs]
            async with Worker(engine, forge):
                return list(await asyncio.gather(*waits))
        finally:
            await own.dispose()

    assert [result.total for result in asyncio.run(main())] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "async psycopg", "asyncpg"])
def test_without_a_pool_a_wait_holds_no_connection_but_for_a_look(engine: sa.Engine, sql: Sql, driver: str) -> None:
    job, opened, others = enqueue(engine), list[object](), sql.look(OPEN)
    url = sql.database.url("jf_app").set(drivername=f"postgresql+{driver.split()[-1]}")

    async def wait_in_loop() -> Sum:
        own = create_async_engine(url, poolclass=sa.NullPool)
        sa.event.listen(own.sync_engine, "connect", lambda *_: opened.append(1))
        return await AsyncResults(own).wait(add, job, timeout=20)

    def wait() -> Sum:
        if driver in ("async psycopg", "asyncpg"):
            return asyncio.run(wait_in_loop())
        own = sa.create_engine(url, poolclass=sa.NullPool)
        sa.event.listen(own, "connect", lambda *_: opened.append(1))
        return Results(own).wait(add, job, timeout=20)

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(wait)
        wait_for(lambda: len(opened) >= 4, what="four looks, each on a connection of its own")
        wait_for(lambda: sql.look(OPEN) == others, what="a moment between two looks")
        sql.complete(sql.claim_one(types=["add"]), result={"total": 5})
        assert waiting.result(20) == Sum(total=5)
    wait_for(lambda: sql.look(OPEN) == others, what="no connection to be left")


def test_the_connection_goes_when_nobody_has_waited_for_a_while(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobforge_sa.results.bell.LINGER", 0.1)
    own = sa.create_engine(sql.database.url("jf_one"))
    with pytest.raises(ResultTimeout):
        Results(own).wait(add, enqueue(own), timeout=0.2)
    wait_for(lambda: bell_of(own)._thread is None, what="the thread to end")
    with pytest.raises(ResultTimeout):
        Results(own).wait(add, enqueue(own), timeout=0.2)
    own.dispose()


def test_a_fork_of_a_process_that_waits_can_wait_itself(engine: sa.Engine, sql: Sql) -> None:
    job = enqueue(engine)
    sql.complete(sql.claim_one(types=["add"]), result={"total": 9})
    with pytest.raises(ResultTimeout):
        Results(engine).wait(add, enqueue(engine), timeout=0.1)
    other = enqueue(engine)
    pid = os.fork()
    if pid == 0:  # in the child: another engine, as a fork needs one
        own = sa.create_engine(sql.database.url("jf_one"))
        try:
            ok = Results(own).wait(add, job, timeout=10).total == 9
            Results(own).wait(add, other, timeout=0.3)
        except ResultTimeout:
            os._exit(0 if ok else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_annotation_that_is_no_type_of_json_is_said_when_the_result_is_read(engine: sa.Engine, sql: Sql) -> None:
    job = enqueue(engine, unreadable, {"n": 1})
    sql.complete(sql.claim_one(types=["unreadable"]), result=[1])
    with pytest.raises(InvalidResult, match="annotated to return"):
        Results(engine).wait(unreadable, job, timeout=5)


def test_what_cannot_be_waited_for_is_refused_with_the_cure(engine: sa.Engine, sql: Sql) -> None:
    job = enqueue(engine)
    with pytest.raises(InvalidJob, match="is no task"):
        Results(engine).wait("add", job)  # type: ignore[arg-type]
    for timeout in ("5", float("nan")):
        with pytest.raises(ConfigurationError, match="pass seconds"):
            Results(engine).wait(add, job, timeout=timeout)  # type: ignore[arg-type]


def test_what_is_no_engine_is_refused_with_the_cure(engine: sa.Engine) -> None:
    with pytest.raises(ConfigurationError, match="AsyncResults"):
        Results(create_async_engine("postgresql+psycopg://"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="use Results"):
        AsyncResults(engine)  # type: ignore[arg-type]


def test_a_wait_is_the_tenants_own_and_upkeep_forgets_it(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue("b")
    assert sql("await_job", tenant="a", job_id=job) == []
    assert sql("await_job", tenant="b", job_id=uuid.uuid4()) == []
    (row,) = sql("await_job", tenant="b", job_id=job)
    assert row["state"] == "queued"
    with sql.connect(tenant="a") as connection:
        assert connection.execute("select * from jobforge.waits").fetchall() == []
    clock.advance(seconds=61)
    sql("upkeep", worker_id=sql.worker)
    assert sql.look("select * from jobforge.waits") == []
