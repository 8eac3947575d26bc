"""Handlers and owners that do what nobody expects: their jobs still end, and nothing waits for a lease."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from jobforge_sa import AsyncContext, Context, Worker
from tests.fix_postgres import Database
from tests.integration.test_worker import SOON, Number, Shop


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
