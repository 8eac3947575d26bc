"""chancy: jobs claimed by the hundred, ends written in batches, on psycopg."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence

from chancy import Chancy, Job, Queue, Worker

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Database, Plain, Producer, Purpose, System, sequential

_heard: Callable[[int], None]  # the handler is found by its name, so it is no closure


async def nothing(*, number: int, customer: str, lines: list[str], total: float) -> None:  # noqa: ARG001
    """The handler."""
    _heard(number)


def _job(order: Order) -> Job:
    return Job(func="benchmarks.systems.chancy.nothing", kwargs=order.model_dump())


class ChancyQueue(System):
    """https://github.com/TkTech/chancy."""

    name = "chancy"
    package = "chancy"
    settings = (
        "the async executor, `concurrency=1000` for drains and 100 (its default) for latency, `eager_polling`, NOTIFY,"
        " `send_outgoing_interval` 0.05 s instead of 1 s"
    )
    completed = "select count(*) from chancy_jobs where state = 'succeeded'"
    bulk = 5_000
    copies = {"chancy_jobs": {"id": sequential()}}  # noqa: RUF012

    def install(self, database: Database) -> None:
        """Its migrations."""

        async def install() -> None:
            async with Chancy(database.dsn) as app:
                await app.migrate()

        asyncio.run(install())

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`sync_push` and `sync_push_many`, the second as one transaction."""
        with Chancy(database.dsn) as app:

            def many(orders: Sequence[Order]) -> None:
                for _ in app.sync_push_many([_job(order) for order in orders], batch_size=len(orders)):
                    pass

            yield Plain(lambda order: app.sync_push(_job(order)), many)

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """A worker of one queue."""
        global _heard
        _heard = heard
        at_once = {Purpose.DRAIN: 1000, Purpose.LATENCY: 100, Purpose.FIFTY: 50}[purpose]

        async def work() -> None:
            async with Chancy(database.dsn, log=logging.getLogger("chancy")) as app:
                queue = Queue("default", concurrency=at_once, executor=Chancy.Executor.Async, eager_polling=True)
                await app.declare(queue, upsert=True)
                async with Worker(app) as worker:
                    worker.send_outgoing_interval = 0.05
                    await worker.wait_for_shutdown()

        asyncio.run(work())


SYSTEM = ChancyQueue()
