"""Oban's Python edition: fetches by demand, acknowledges in batches, on psycopg."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from oban import Oban, worker
from oban.schema import install

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Async, Database, Producer, Purpose, System

_heard: Callable[[int], None]  # the handler is found by its name, so it is no closure


class Nothing:
    """The handler."""

    new: Callable[..., Any]

    async def process(self, job: Any) -> None:
        """Do nothing."""
        _heard(job.args["number"])


worker(queue="default")(Nothing)


class ObanQueue(System):
    """https://github.com/oban-bg/oban-py."""

    name = "oban"
    package = "oban"
    settings = "`limit=100` for drains and 20 for latency; the rest as it comes: debounced by 5 ms, NOTIFY"
    completed = "select count(*) from oban_jobs where state = 'completed'"
    bulk = 5_000
    copies = {"oban_jobs": {"id": ""}}  # noqa: RUF012

    def install(self, database: Database) -> None:
        """Its script."""

        async def run() -> None:
            pool = await Oban.create_pool(database.dsn)
            await install(pool)
            await pool.close()

        asyncio.run(run())

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`enqueue` and `enqueue_many`."""
        with asyncio.Runner() as runner:
            pool = runner.run(Oban.create_pool(database.dsn))
            oban = Oban(pool=pool)

            async def one(order: Order) -> None:
                await oban.enqueue(Nothing.new(order.model_dump()))

            async def many(orders: Sequence[Order]) -> None:
                await oban.enqueue_many([Nothing.new(order.model_dump()) for order in orders])

            yield Async(runner, one, many)
            runner.run(pool.close())

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """One queue."""
        global _heard
        _heard = heard
        limit = {Purpose.DRAIN: 100, Purpose.LATENCY: 20, Purpose.FIFTY: 50}[purpose]

        async def work() -> None:
            pool = await Oban.create_pool(database.dsn)
            async with Oban(pool=pool, queues={"default": limit}):
                await asyncio.Event().wait()

        asyncio.run(work())


SYSTEM = ObanQueue()
