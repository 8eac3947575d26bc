"""Handlers and owners that do what nobody expects: their jobs still end, and nothing waits for a lease."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import sys
import threading

import pytest
import sqlalchemy as sa

from jobforge_sa import AsyncContext, Context, Worker
from tests.fix_postgres import Database
from tests.integration.test_worker import SOON, Number, Shop
from tests.support import wait_for


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


def test_an_async_handler_that_cancels_itself_fails_and_does_not_run_for_ever(shop: Shop) -> None:
    """A cancellation that leaks out of a library is nobody's wish: given back, the job would run again at once."""

    @shop.task(max_attempts=2, retry=SOON)
    async def leak(ctx: AsyncContext, payload: Number) -> None:
        inner = asyncio.create_task(asyncio.sleep(10))
        inner.cancel()
        await inner

    job = shop.enqueue(leak)
    with shop.working():
        shop.ended(job, "dead")
    assert shop.outcomes(job) == ["failed", "failed"]


@pytest.mark.parametrize("how", ["exit", "stop"])
def test_an_async_handler_that_ends_the_event_loop_ends_no_other_job(shop: Shop, how: str) -> None:
    """`sys.exit` in a task that the handler made: asyncio hands it to its waiter, and to who runs the loop."""

    async def exits() -> None:
        sys.exit(3)

    @shop.task(max_attempts=1)
    async def leave(ctx: AsyncContext, payload: Number) -> None:
        if how == "exit":
            await asyncio.create_task(exits())
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)

    @shop.task()
    async def good(ctx: AsyncContext, payload: Number) -> None:
        await asyncio.sleep(0)

    job = shop.enqueue(leave)
    with shop.working():
        shop.ended(job, "dead" if how == "exit" else "succeeded")
        shop.ended(shop.enqueue(good), "succeeded")


def test_a_second_interrupt_while_a_worker_stops_gives_everything_back(shop: Shop) -> None:
    """As a second Ctrl-C in a script that waits for its handlers: the lease is not left for others to wait for."""
    gate, begun = threading.Event(), threading.Event()

    @shop.task()
    def slow(ctx: Context, payload: Number) -> None:
        begun.set()
        gate.wait(20)

    job = shop.enqueue(slow)
    worker = Worker(shop.engine, shop.forge).start()
    assert begun.wait(10)
    main = threading.get_ident()
    threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        worker.stop()
    gate.set()
    assert shop.get(job).state == "queued"
    assert shop.outcomes(job) == ["released"]
    assert worker.stop() is False


FAILS = """
create sequence once;
grant usage on once to public;
create function fail() returns trigger language plpgsql as $$
begin
    if nextval('public.once') = 1 then
        raise exception 'cache lookup failed for function 4711' using errcode = 'XX000';
    end if;
    return new;
end $$;
create trigger fail before insert on jobforge.attempts for each row execute function fail()"""


def test_an_error_that_is_no_fault_of_the_job_does_not_make_a_success_a_failure(shop: Shop) -> None:
    """As when a migration replaces a function that a completion is just about to call."""

    @shop.task()
    def good(ctx: Context, payload: Number) -> None: ...

    with shop.admin.begin() as c:
        c.execute(sa.text(FAILS))
    job = shop.enqueue(good)
    with shop.working():
        shop.ended(job, "succeeded", 15)
    assert shop.outcomes(job) == ["succeeded"]


def test_ends_wait_until_a_right_that_was_taken_away_is_back(shop: Shop) -> None:
    gate, begun = threading.Event(), threading.Event()

    @shop.task()
    def good(ctx: Context, payload: Number) -> None:
        begun.set()
        gate.wait(10)

    job = shop.enqueue(good)
    right = "execute on function jobforge.complete_jobs {} jobforge_app, jobforge_worker"
    with shop.working() as worker:
        assert begun.wait(10)
        with shop.admin.begin() as c:
            c.execute(sa.text("revoke " + right.format("from")))
        gate.set()
        wait_for(lambda: worker._reporter.outage._failures > 1, what="the reporter to have failed twice")
        with shop.admin.begin() as c:
            c.execute(sa.text("grant " + right.format("to")))
        shop.ended(job, "succeeded", 15)
    assert shop.outcomes(job) == ["succeeded"]


def test_a_handler_that_blocks_the_event_loop_holds_up_no_plain_ones_and_charges_nobody(shop: Shop) -> None:
    """Nothing can begin behind it: what was claimed is given back for another worker, and slots are free."""
    gate, begun = threading.Event(), threading.Event()

    @shop.task(timeout=dt.timedelta(milliseconds=100), max_attempts=1)
    async def blocks(ctx: AsyncContext, payload: Number) -> None:
        begun.set()
        gate.wait(60)

    @shop.task()
    async def waits(ctx: AsyncContext, payload: Number) -> None: ...

    @shop.task()
    def plain(ctx: Context, payload: Number) -> None: ...

    blocked = shop.enqueue(blocks)
    with shop.working(queues={"default": 3}) as worker:
        assert begun.wait(10)
        behind = [shop.enqueue(waits) for _ in range(5)]
        wait_for(lambda: len(worker._runs) == 3, what="all slots to be taken")
        last = shop.enqueue(plain)
        try:
            shop.ended(last, "succeeded", 15)
            shop.ended(blocked, "dead")
            assert [shop.get(job).state for job in behind] == ["queued"] * 5
        finally:
            gate.set()
        for job in behind:
            shop.ended(job, "succeeded")
            assert shop.get(job).attempt == 1


def test_a_task_that_is_registered_behind_the_worker_in_a_queue_of_its_own_is_warned_of(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """As at the top of a module: its jobs would wait for ever, and a drain would return at once."""

    def handler(ctx: Context, payload: Number) -> None: ...

    shop.forge.task("early")(handler)
    worker = Worker(shop.engine, shop.forge)
    shop.forge.task("late", queue="reports")(handler)
    with worker:
        assert "the worker was made before the tasks late: it does not serve reports" in caplog.text
    caplog.clear()
    with Worker(shop.engine, shop.forge), Worker(shop.engine, shop.forge, queues=["reports"]):
        assert "made before" not in caplog.text


def test_the_line_of_a_failed_attempt_says_where_in_the_application_it_was(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    @shop.task(max_attempts=1)
    def look(ctx: Context, payload: Number) -> None:
        ctx.session.execute(sa.text("select 1 where false")).one()  # which says no more than that there is no row

    job = shop.enqueue(look)
    with shop.working():
        shop.ended(job, "dead")
    assert "NoResultFound: No row was found when one was required (integration/test_worker_awkward.py:" in caplog.text
    assert "File " not in caplog.text
