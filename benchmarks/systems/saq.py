"""SAQ on its Postgres queue: a table of JSON blobs, on psycopg."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from saq import Worker
from saq.queue.postgres import PostgresQueue

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Async, Database, Producer, Purpose, System

LANES = 20  # as many as its pool has connections
KEY = "'saq:job:default:copy-' || n"


class Saq(System):
    """https://github.com/tobymao/saq."""

    name = "saq"
    package = "saq"
    settings = (
        "`concurrency=100` for drains and 20 for latency, a pool of 20, LISTEN; it has no bulk call and joins no"
        " transaction of the application's, so many are enqueued in 20 lanes"
    )
    completed = "select count(*) from saq_jobs where status = 'complete'"
    bulk = 5_000
    copies = {  # noqa: RUF012
        "saq_jobs": {
            "key": KEY, "lock_key": "",
            "job": f"convert_to(replace(convert_from(job, 'utf8'), key, {KEY}), 'utf8')",
        }
    }  # fmt: skip

    def install(self, database: Database) -> None:
        """When it connects."""
        with self.producer(database):
            pass

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`enqueue`."""
        with asyncio.Runner() as runner:

            async def connect() -> PostgresQueue:
                queue = PostgresQueue.from_url(database.dsn)
                await queue.connect()
                return queue

            queue = runner.run(connect())

            async def one(order: Order) -> None:
                await queue.enqueue("nothing", **order.model_dump())

            async def many(orders: Sequence[Order]) -> None:
                waiting = iter(orders)

                async def lane() -> None:
                    for order in waiting:
                        await one(order)

                await asyncio.gather(*(lane() for _ in range(LANES)))

            yield Async(runner, one, many)
            runner.run(queue.disconnect())

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """Its worker."""
        at_once = {Purpose.DRAIN: 100, Purpose.LATENCY: 20, Purpose.FIFTY: 50}[purpose]

        async def nothing(_ctx: Any, *, number: int, **_payload: Any) -> None:
            heard(number)

        async def work() -> None:
            queue = PostgresQueue.from_url(database.dsn)
            await queue.connect()
            await Worker(queue, [("nothing", nothing)], concurrency=at_once).start()

        asyncio.run(work())


SYSTEM = Saq()
