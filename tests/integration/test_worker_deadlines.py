"""Timeouts and cancels of plain handlers: told, their statement cancelled, left behind where they ignore both."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
import time
import uuid
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, Worker
from jobforge_sa.worker import backend as backend_module
from jobforge_sa.worker import deadlines
from jobforge_sa.worker.backend import Backend, watch
from jobforge_sa.worker.link import cancel
from tests.fix_postgres import Database
from tests.support import wait_for

SLEEP = sa.text("select pg_sleep(60)")
WRITE = sa.text("insert into effects values (:n)")
PID = sa.text("select pg_backend_pid()")
SOON = dt.timedelta(seconds=0.4)


class Number(BaseModel):
    n: int


class Shop:
    """Handlers that run for too long, each in its way."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.engine().begin() as connection:
            connection.exec_driver_sql("create table effects (n int)")
            connection.exec_driver_sql("grant all on effects to jf_one")
        self.engine = database.engine("jf_one", pool_size=5)
        self.forge = JobForge(tenant="a")
        self.running, self.gate = threading.Event(), threading.Event()
        self.committed: list[bool] = []

        @self.forge.task(max_attempts=1)
        def sleeps(ctx: Context, payload: Number) -> None:
            ctx.session.execute(WRITE, {"n": payload.n})
            self.running.set()
            ctx.session.execute(SLEEP)

        @self.forge.task(max_attempts=1)
        def asks(ctx: Context, payload: Number) -> None:
            ctx.session.execute(WRITE, {"n": payload.n})
            self.running.set()
            while True:
                time.sleep(0.01)
                ctx.check()

        @self.forge.task(max_attempts=1)
        def ignores(ctx: Context, payload: Number) -> None:
            ctx.session.execute(WRITE, {"n": payload.n})
            self.running.set()
            self.gate.wait(30)

        @self.forge.task(max_attempts=1)
        async def swallows(ctx: AsyncContext, payload: Number) -> None:
            self.running.set()
            while not self.gate.is_set():
                try:
                    await asyncio.sleep(0.02)
                except asyncio.CancelledError:
                    continue

        @self.forge.task()
        def quick(ctx: Context, payload: Number) -> None:
            ctx.session.execute(WRITE, {"n": payload.n})

        self.sleeps, self.asks, self.ignores, self.swallows, self.quick = sleeps, asks, ignores, swallows, quick

    def enqueue(self, task: Any, n: int = 1, **options: Any) -> uuid.UUID:
        with Session(self.engine) as session, session.begin():
            return Jobs(session).enqueue(task, Number(n=n), **options).id

    def worker(self, **options: Any) -> Worker:
        return Worker(self.engine, self.forge, queues={"default": 1}, poll=dt.timedelta(seconds=0.05), **options)

    def ended(self, job: uuid.UUID) -> tuple[str, str] | None:
        """The state and the last attempt's outcome, once the job has ended."""
        with self.database.engine().connect() as connection:
            connection.execute(sa.text("set local role jobforge_admin"))
            ended = sa.text(
                "select j.state, a.outcome from jobforge.all_jobs j "
                "join jobforge.all_attempts a on a.job_id = j.id "
                "where j.id = :id and j.finished_at is not null order by a.run desc limit 1"
            )
            row = connection.execute(ended, {"id": job}).one_or_none()
        return (row.state, row.outcome) if row is not None else None

    def effects(self) -> list[int]:
        with self.database.engine().connect() as connection:
            return sorted(connection.scalars(sa.text("select n from effects")))


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


@pytest.mark.parametrize("name", ["sleeps", "asks"])
def test_fault_016_a_handler_past_its_timeout_is_told_and_its_statement_cancelled(shop: Shop, name: str) -> None:
    job = shop.enqueue(getattr(shop, name), timeout=SOON)
    with shop.worker() as worker:
        began = time.monotonic()
        assert wait_for(lambda: shop.ended(job), 20) == ("dead", "timed_out")
        assert time.monotonic() - began < deadlines.PATIENCE
        assert worker.stats()["abandoned"] == 0
        after = shop.enqueue(shop.quick, 2)
        assert wait_for(lambda: shop.ended(after)) == ("succeeded", "succeeded")
    assert shop.effects() == [2]


@pytest.mark.parametrize("name", ["ignores", "swallows"])
def test_fault_016_what_ignores_its_timeout_is_left_behind_and_its_slot_is_free(
    shop: Shop, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(deadlines, "PATIENCE", 0.3)
    job = shop.enqueue(getattr(shop, name), timeout=SOON)
    with shop.worker() as worker:
        assert wait_for(lambda: shop.ended(job), 20) == ("dead", "timed_out")
        assert worker.stats()["abandoned"] == 1
        after = [shop.enqueue(shop.quick, n) for n in (2, 3)]
        for one in after:
            assert wait_for(lambda one=one: shop.ended(one)) == ("succeeded", "succeeded")  # type: ignore[misc]
        shop.gate.set()  # the handler returns at last: nothing of it counts
        wait_for(lambda: worker._lanes[0].active == 0)
        last = shop.enqueue(shop.quick, 4)
        assert wait_for(lambda: shop.ended(last)) == ("succeeded", "succeeded")
    assert shop.effects() == [2, 3, 4]
    assert sum("is left behind" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("listen", [True, False])
@pytest.mark.parametrize("name", ["sleeps", "asks"])
def test_a_cancel_reaches_a_running_job_within_seconds_whatever_its_lease(shop: Shop, name: str, listen: bool) -> None:
    job = shop.enqueue(getattr(shop, name))
    with shop.worker(listen=listen, lease=dt.timedelta(minutes=5)):
        assert shop.running.wait(10)
        with Session(shop.engine) as session, session.begin():
            Jobs(session, tenant="a").cancel(job)
        assert wait_for(lambda: shop.ended(job), 5) == ("canceled", "canceled")
    assert shop.effects() == []


def test_a_stop_cancels_the_statement_and_gives_the_job_back_uncharged(shop: Shop) -> None:
    job = shop.enqueue(shop.sleeps)
    worker = shop.worker().start()
    assert shop.running.wait(10)
    assert worker.stop(timeout=0.05)
    with Session(shop.engine) as session:
        found = Jobs(session, tenant="a").get(job)
    assert (found.state, found.attempt) == ("queued", 0)
    assert shop.effects() == []


def test_a_connection_that_went_back_to_its_pool_is_not_cancelled(shop: Shop) -> None:
    engine = shop.database.engine("jf_one", pool_size=1, max_overflow=0)
    watch(engine)
    watch(engine)
    first = Backend()
    with engine.connect() as connection:
        first.hold(connection)
    with engine.connect() as connection:
        second = Backend()
        second.hold(connection)
        first._cancel()
        assert connection.scalar(sa.text("select pg_sleep(0.2) is null")) is False
        timer = threading.Timer(0.2, second._cancel)
        timer.start()
        with pytest.raises(sa.exc.OperationalError, match="canceling statement"):
            connection.execute(SLEEP)
        timer.join()


@pytest.mark.parametrize("safe", [True, False], ids=["libpq 17", "libpq before"])
def test_a_cancel_ends_a_statement_with_any_libpq(shop: Shop, safe: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not safe:
        monkeypatch.setattr(psycopg.capabilities, "has_cancel_safe", lambda: False)
    engine = shop.database.engine("jf_one")
    backend = Backend()
    with engine.connect() as connection:
        backend.hold(connection)
        timer = threading.Timer(0.2, backend.cancel)
        timer.start()
        with pytest.raises(sa.exc.OperationalError, match="canceling statement"):
            connection.execute(SLEEP)
        timer.join()


def test_a_connection_whose_cancel_is_still_on_its_way_is_not_handed_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = shop.database.engine("jf_one", pool_size=1, max_overflow=0, pool_timeout=5)
    watch(engine)
    begun, gate = threading.Event(), threading.Event()

    def late(connection: Any) -> None:  # a request that the network holds up
        begun.set()
        gate.wait(10)
        cancel(connection)

    monkeypatch.setattr(backend_module, "cancel", late)
    first = Backend()
    with engine.connect() as connection:
        before = connection.scalar(PID)
        first.hold(connection)
        canceling = threading.Thread(target=first._cancel)
        canceling.start()
        assert begun.wait(10)
    with engine.connect() as connection:  # at once, and it is another one
        assert connection.scalar(PID) != before
        connection.info["ours"] = True
        gate.set()
        canceling.join(10)
        assert connection.scalar(sa.text("select pg_sleep(0.2) is null")) is False
    with engine.connect() as connection:
        assert connection.info.get("ours"), "without a cancel on its way it is handed on as ever"
