"""A worker that stops while something does not answer: it ends soon, and no job waits for a lease or counts a crash."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from jobforge_sa import AsyncContext, Context, JobForge, Worker
from tests.chaos.proxy import Proxy
from tests.faults.ground import QUICK, RUNS, STATES, Ground, enqueue, own_ground
from tests.support import wait_for

HOLD = """
create function public.hold() returns trigger language plpgsql as
$$ begin perform pg_advisory_xact_lock(4711); return new; end $$
"""
HOLDS = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
SOON = 8.0  # seconds: the patience for one answer, another connection, and a loaded machine


@pytest.fixture(scope="module")
def shared() -> Iterator[Ground]:
    with own_ground(tcp=True) as ground:
        yield ground


@pytest.fixture
def ground(shared: Ground) -> Iterator[Ground]:
    yield shared
    shared.clean()


@pytest.fixture
def proxy(ground: Ground) -> Iterator[Proxy]:
    with Proxy(ground.server.port, random.Random(0)) as proxy:
        yield proxy


@contextmanager
def claims_held(ground: Ground) -> Iterator[None]:
    """Claims stay open in the server, for the block."""
    ground.run(HOLD, "create trigger hold before insert on jobforge.leases for each row execute function public.hold()")
    with ground.connect() as holder:
        holder.execute("select pg_advisory_lock(4711)")
        try:
            yield
        finally:
            holder.execute("select pg_advisory_unlock_all()")
            wait_for(lambda: ground.look(HOLDS)[0]["count"] == 0, what="the claim to go on")
            ground.run("drop function public.hold cascade")


def stopped(worker: Worker, timeout: float) -> float:
    """Stop; give the seconds that it took beyond the handlers' own."""
    began = time.monotonic()
    worker.stop(timeout)
    return time.monotonic() - began - timeout


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("where", ["in a statement", "between statements", "in the pool"])
def test_fault_006_async_handlers_on_half_open_connections_do_not_hold_up_a_stop(
    ground: Ground, proxy: Proxy, driver: str, where: str
) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    forge, running = JobForge(tenant="a"), threading.Event()

    @forge.task()
    async def stuck(ctx: AsyncContext, payload: dict[str, int]) -> None:
        await ctx.session.execute(sa.text("select 1"))
        running.set()
        if where == "in a statement":
            await ctx.session.execute(sa.text("select pg_sleep(0.5)"))
        if where != "in the pool":
            await asyncio.sleep(60)

    engine = ground.engine("jf_worker")
    url = ground.engine("jf_app", proxy.port).url.set(drivername=f"postgresql+{driver}")
    worker = Worker(engine, forge, async_session_engine=create_async_engine(url, pool_size=1), **QUICK).start()
    enqueue(ground.engine("jf_app"), stuck)
    assert running.wait(10)
    if where == "in the pool":
        wait_for(lambda: ground.counts(RUNS), what="the handler to end")
    proxy.kill_silently()
    assert stopped(worker, 0.5) < 5
    assert ground.counts(RUNS) == {"succeeded" if where == "in the pool" else "released": 1}
    assert ground.counts(STATES) == {"succeeded" if where == "in the pool" else "queued": 1}
    assert not [thread for thread in threading.enumerate() if thread.name == "jobforge-loop"]


def test_fault_006_ends_that_wait_on_a_half_open_connection_are_told_over_another_by_stop(
    ground: Ground, proxy: Proxy
) -> None:
    forge, running, gate = JobForge(tenant="a"), threading.Event(), threading.Event()

    @forge.task()
    def gated(ctx: Context, payload: dict[str, int]) -> None:
        running.set()
        assert gate.wait(20)

    worker = Worker(ground.engine("jf_worker", proxy.port), forge, **QUICK).start()
    enqueue(ground.engine("jf_app"), gated)
    assert running.wait(10)
    proxy.kill_silently()
    gate.set()
    wait_for(lambda: worker._reporter.link.busy, what="the end to be on its way")
    assert stopped(worker, 0) < 2 * SOON  # its claimer waits on a dead connection, too
    assert ground.counts(STATES) == {"succeeded": 1}
    assert ground.counts(RUNS) == {"succeeded": 1}
    assert ground.look("select * from jobforge.workers") == []


@pytest.mark.faults
def test_ends_that_wait_for_a_lock_do_not_hold_up_a_stop(ground: Ground) -> None:
    forge, running, gate = JobForge(tenant="a"), threading.Event(), threading.Event()

    @forge.task()
    def gated(ctx: Context, payload: dict[str, int]) -> None:
        running.set()
        assert gate.wait(20)

    worker = Worker(ground.engine("jf_worker"), forge, concurrency=40, **QUICK).start()
    for n in range(40):
        enqueue(ground.engine("jf_app"), gated, n)
    wait_for(lambda: worker._lanes[0].active == 40, what="all to run")
    with ground.connect() as holder, holder.transaction():
        holder.execute("lock table jobforge.leases in share mode")
        gate.set()
        wait_for(lambda: worker._reporter.link.busy, what="the ends to be on their way")
        # 40 ends at half a second each would take 20
        stopper = threading.Thread(target=worker.stop, args=(0,))
        stopper.start()
        stopper.join(2 * SOON)
        assert not worker._reporter._thread or not worker._reporter._thread.is_alive()
    stopper.join(30)
    assert not stopper.is_alive()
    assert "running" not in ground.counts(STATES)


def test_fault_035_a_claim_that_is_open_while_its_worker_leaves_takes_no_job_along(ground: Ground) -> None:
    forge = JobForge(tenant="a")

    @forge.task()
    def never(ctx: Context, payload: dict[str, int]) -> None:
        raise AssertionError("it was claimed by a worker that has left")

    with claims_held(ground):
        worker = Worker(ground.engine("jf_worker"), forge, **QUICK).start()
        enqueue(ground.engine("jf_app"), never)
        wait_for(lambda: ground.look(HOLDS)[0]["count"], what="the claim to be open")
        assert stopped(worker, 0) < SOON
    assert ground.counts(STATES) == {"queued": 1}
    assert ground.look("select * from jobforge.leases") == []
    assert ground.look("select * from jobforge.workers") == []


def test_fault_035_what_a_claim_took_whose_answer_got_lost_is_given_back_when_its_worker_leaves(
    ground: Ground, proxy: Proxy
) -> None:
    forge = JobForge(tenant="a")

    @forge.task()
    def never(ctx: Context, payload: dict[str, int]) -> None:
        raise AssertionError("nobody heard of the claim")

    with claims_held(ground):
        worker = Worker(ground.engine("jf_worker", proxy.port), forge, **QUICK).start()
        enqueue(ground.engine("jf_app"), never)
        wait_for(lambda: ground.look(HOLDS)[0]["count"], what="the claim to be open")
        proxy.kill_silently()
    wait_for(lambda: ground.look("select * from jobforge.leases"), what="the claim to be committed")
    assert stopped(worker, 0) < 2 * SOON
    assert ground.counts(STATES) == {"queued": 1}
    assert ground.counts(RUNS) == {"released": 1}
    assert ground.look("select max(attempt) + max(crashes) as n from jobforge.ready")[0]["n"] == 0
    assert ground.look("select * from jobforge.workers") == []


@pytest.mark.faults
def test_fault_006_an_async_handler_left_behind_on_a_half_open_connection_gives_its_place_back(
    ground: Ground, proxy: Proxy
) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    forge, running = JobForge(tenant="a"), threading.Event()

    @forge.task(timeout=dt.timedelta(seconds=1), max_attempts=1)
    async def stuck(ctx: AsyncContext, payload: dict[str, int]) -> None:
        await ctx.session.execute(sa.text("select 1"))
        running.set()
        await ctx.session.execute(sa.text("select pg_sleep(0.5)"))

    @forge.task(max_attempts=1)
    async def next_one(ctx: AsyncContext, payload: dict[str, int]) -> None:
        await ctx.session.execute(sa.text("select 1"))

    url = ground.engine("jf_app", proxy.port).url
    sessions = create_async_engine(url, pool_size=1, max_overflow=0, pool_timeout=2)
    with Worker(ground.engine("jf_worker"), forge, async_session_engine=sessions, grace=dt.timedelta(0), **QUICK):
        first = enqueue(ground.engine("jf_app"), stuck)
        assert running.wait(10)
        proxy.kill_silently()
        wait_for(lambda: ground.ended(first) == "dead", 20, "the stuck one to be left behind")
        second = enqueue(ground.engine("jf_app"), next_one)
        assert wait_for(lambda: ground.ended(second), 20, "the next one") == "succeeded"
