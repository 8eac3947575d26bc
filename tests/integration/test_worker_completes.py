"""A handler that completes its job itself, and one that keeps a transaction open and does nothing with it."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from jobforge_sa import AsyncContext, Context, JobForge, Retry, Worker
from jobforge_sa.errors import ConfigurationError, LeaseLost
from tests.support import Sql, one_database, wait_for

Payload = dict[str, Any]
CUT = """select count(pg_terminate_backend(pid, 5000)) as n from pg_stat_activity
 where datname = current_database() and state = 'idle in transaction' and query like 'insert into notes%%'"""
NOTE = sa.text("insert into notes values (:note)")
forge = JobForge(tenant="a")
gate, reached = threading.Event(), threading.Event()


@forge.task()
def completes(ctx: Context, payload: Payload) -> str | None:
    ctx.session.execute(NOTE, {"note": "with"})
    ctx.complete({"n": 1})
    reached.set()
    assert gate.wait(30)
    match payload["then"]:
        case "raise":
            raise RuntimeError("behind")
        case "retry":
            raise Retry
        case "again":
            ctx.complete()
        case "write":
            ctx.session.execute(NOTE, {"note": "behind"})
        case "commit":
            ctx.session.execute(NOTE, {"note": "behind"})
            ctx.session.commit()
        case "return":
            return "ignored"
    return None


@forge.task()
async def completes_async(ctx: AsyncContext, payload: Payload) -> None:
    await ctx.session.execute(NOTE, {"note": "with"})
    await ctx.complete({"n": 1})
    reached.set()
    await asyncio.to_thread(gate.wait, 30)
    if payload["then"] == "raise":
        raise RuntimeError("behind")


@forge.task()
def bad_result(ctx: Context, payload: Payload) -> None:
    ctx.session.execute(NOTE, {"note": "undone"})
    ctx.complete(object())


@forge.task()
def waits(ctx: Context, payload: Payload) -> None:
    if payload.get("write"):
        ctx.session.execute(NOTE, {"note": "undone"})
    if payload.get("commit"):
        ctx.session.commit()
    reached.set()
    assert gate.wait(30)


@forge.task()
async def waits_async(ctx: AsyncContext, payload: Payload) -> None:
    await ctx.session.execute(NOTE, {"note": "undone"})
    reached.set()
    await asyncio.to_thread(gate.wait, 30)


@forge.task()
def cuts_itself(ctx: Context, payload: Payload) -> None:
    """As a router does that forgets a connection which says nothing for long."""
    ctx.session.execute(NOTE, {"note": "undone"})
    pid = ctx.session.scalar(sa.text("select pg_backend_pid()"))
    with sa.create_engine(ctx.session.get_bind().engine.url, poolclass=sa.NullPool).connect() as other:
        other.execute(sa.text("select pg_terminate_backend(:pid, 5000)"), {"pid": pid})


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        sql.session("postgres").execute("create table notes (note text); grant all on notes to jf_one")
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    gate.clear()
    reached.clear()
    yield shared
    gate.set()
    shared.clean()
    shared.session("postgres").execute("truncate notes")


@pytest.fixture(scope="module")
def engine(shared: Sql) -> Iterator[sa.Engine]:
    engine = sa.create_engine(shared.database.url("jf_one"))
    yield engine
    engine.dispose()


def notes(sql: Sql) -> list[str]:
    return [row["note"] for row in sql.look("select note from notes order by note")]


@pytest.mark.parametrize("then", ["nothing", "raise", "retry", "again", "write", "commit", "return"])
def test_once_completed_a_job_has_succeeded_whatever_its_handler_does_behind_that(
    engine: sa.Engine, sql: Sql, caplog: pytest.LogCaptureFixture, then: str
) -> None:
    job = sql.enqueue("a", "completes", {"then": then})
    with Worker(engine, forge, lease=dt.timedelta(seconds=1)) as worker:
        assert reached.wait(10)
        assert (sql.state(job), notes(sql)) == ("succeeded", ["with"])
        gate.set()
        assert worker.drain(10)
    assert sql.job(job)["result"] == {"n": 1}
    assert [row["outcome"] for row in sql.attempts(job)] == ["succeeded"]
    assert notes(sql) == ["with"]
    assert worker.outcomes == {"succeeded": 1}
    said = {"raise": "RuntimeError was raised", "retry": "Retry was raised", "return": "str was returned",
            "again": ConfigurationError.__name__, "commit": LeaseLost.__name__}.get(then, "")  # fmt: skip
    assert said in caplog.text
    assert bool(said) == ("after its handler had completed it" in caplog.text)


@pytest.mark.parametrize("then", ["nothing", "raise"])
def test_async_handlers_complete_as_well(engine: sa.Engine, sql: Sql, then: str) -> None:
    job = sql.enqueue("a", "completes_async", {"then": then})
    with Worker(engine, forge) as worker:
        assert reached.wait(10)
        assert (sql.state(job), notes(sql)) == ("succeeded", ["with"])
        gate.set()
        assert worker.drain(10)
    assert worker.outcomes == {"succeeded": 1}


def test_a_completed_run_that_goes_on_is_no_lost_lease_for_the_heartbeat(
    engine: sa.Engine, sql: Sql, caplog: pytest.LogCaptureFixture
) -> None:
    sql.enqueue("a", "completes", {"then": "nothing"})
    alive = "select alive_until from jobforge.workers"
    with Worker(engine, forge, lease=dt.timedelta(seconds=1)) as worker:
        assert reached.wait(10)
        for _ in range(2):
            before = sql.look(alive)
            wait_for(lambda before=before: sql.look(alive) != before, what="a heartbeat")  # type: ignore[misc]
        gate.set()
    assert worker.stats()["lost"] == 0
    assert "lease was lost" not in caplog.text


def test_a_result_that_is_no_json_completes_nothing(engine: sa.Engine, sql: Sql) -> None:
    job = sql.enqueue("a", "bad_result", max_attempts=1)
    with Worker(engine, forge) as worker:
        assert worker.drain(10)
    assert (sql.state(job), notes(sql)) == ("dead", [])
    assert sql.attempts(job)[0]["error"]["type"] == "ValueError"


@pytest.mark.parametrize("kind", ["waits", "waits_async"])
def test_a_transaction_with_which_nothing_is_done_is_warned_of_and_then_ended(
    engine: sa.Engine, sql: Sql, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.WARNING, "jobforge_sa.worker")
    job = sql.enqueue("a", kind, {"write": True}, max_attempts=1)
    with Worker(engine, forge, idle_warning=dt.timedelta(seconds=0.3), idle_limit=dt.timedelta(seconds=1)) as worker:
        wait_for(lambda: worker.stats()["overstayed"], what="its end")
        idle = "select from pg_stat_activity where state = 'idle in transaction' and usename = 'jf_one'"
        wait_for(lambda: not sql.look(idle), what="the server to have undone it")
        gate.set()
        assert worker.drain(10)
    assert (worker.stats()["idle"], worker.stats()["overstayed"], worker.stats()["failed"]) == (1, 1, 1)
    assert caplog.text.count("transaction has been open for") == 2
    assert (sql.state(job), notes(sql)) == ("dead", [])
    error = sql.attempts(job)[0]["error"]
    assert error["type"] == "IdleInTransaction"
    assert "commit or roll back before waiting for the network" in error["message"]


@pytest.mark.parametrize("payload", [{}, {"write": True, "commit": True}])
def test_a_handler_that_waits_outside_of_a_transaction_is_let_be(engine: sa.Engine, sql: Sql, payload: Payload) -> None:
    job = sql.enqueue("a", "waits", payload)
    tenth = dt.timedelta(seconds=0.1)
    with Worker(engine, forge, idle_warning=tenth, idle_limit=tenth) as worker:
        assert reached.wait(10)
        gate.wait(0.8)  # three looks of the watchdog
        gate.set()
        assert worker.drain(10)
    assert (sql.state(job), worker.stats()["idle"]) == ("succeeded", 0)


def test_a_statement_that_takes_long_is_not_idle(engine: sa.Engine, sql: Sql) -> None:
    busy = JobForge(tenant="a")

    @busy.task("busy")
    def sleeps(ctx: Context, payload: Payload) -> None:
        ctx.session.execute(sa.text("select pg_sleep(1)"))

    job = sql.enqueue("a", "busy")
    with Worker(engine, busy, idle_limit=dt.timedelta(seconds=0.3)) as worker:
        assert worker.drain(10)
    assert (sql.state(job), worker.stats()["overstayed"]) == ("succeeded", 0)


def test_limits_that_cannot_be_are_refused(engine: sa.Engine) -> None:
    with pytest.raises(ConfigurationError, match="idle_limit"):
        Worker(engine, forge, idle_limit=dt.timedelta(0))
    Worker(engine, forge, idle_limit=None, idle_warning=None)


@pytest.mark.parametrize("kind", ["waits", "waits_async"])
def test_fault_004_a_handler_whose_connection_is_cut_before_its_last_commit_runs_again_uncharged(
    engine: sa.Engine, sql: Sql, kind: str
) -> None:
    """Its work is undone, and it was no failure of its own: with a single attempt the job would be dead."""
    job = sql.enqueue("a", kind, {"write": True}, max_attempts=1)
    with Worker(engine, forge) as worker:
        assert reached.wait(10)
        cut = sql.look(CUT)
        gate.set()
        wait_for(lambda: sql.state(job) == "succeeded", 20, "the second run")
        worker.drain(10)
    assert cut == [{"n": 1}]
    assert [(row["outcome"], row["attempt"]) for row in sql.attempts(job)] == [("released", 1), ("succeeded", 1)]
    assert notes(sql) == ["undone"], "once, by the run that counts"


def test_a_connection_that_is_cut_each_time_ends_the_job_all_the_same(engine: sa.Engine, sql: Sql) -> None:
    job = sql.enqueue("a", "cuts_itself", max_attempts=2, retry={"delays": [0.01]})
    with Worker(engine, forge, poll=dt.timedelta(seconds=0.1)):
        wait_for(lambda: sql.state(job) == "dead", 20, "the end")
    assert [row["outcome"] for row in sql.attempts(job)] == ["released"] * 3 + ["failed"] * 2
    assert notes(sql) == []
