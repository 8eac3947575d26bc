"""pgqueuer: batches from its log-and-delete tables, over asyncpg."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Sequence

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Async, Database, Producer, Purpose, System


class Pgqueuer(System):
    """https://github.com/janbjorge/pgqueuer."""

    name = "pgqueuer"
    package = "pgqueuer"
    settings = (
        "asyncpg and uvloop, as its command line has them; `batch_size=1000` without a concurrency limit for drains,"
        " `batch_size=10` (its default) for latency; the autovacuum settings of `pgq autovac`"
    )
    channel = "ch_pgqueuer"
    completed = "select count(*) from pgqueuer_log where status = 'successful'"
    copies = {"pgqueuer": {"id": ""}}  # noqa: RUF012

    def install(self, database: Database) -> None:
        """As `pgq install` and `pgq autovac` do."""

        async def install() -> None:
            connection = await asyncpg.connect(database.dsn)
            queries = Queries(AsyncpgDriver(connection))
            await queries.install()
            await queries.optimize_autovacuum()
            await connection.close()

        asyncio.run(install())

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`Queries.enqueue`, with lists for many."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            queries = Queries(AsyncpgDriver(runner.run(asyncpg.connect(database.dsn))))

            async def one(order: Order) -> None:
                await queries.enqueue("nothing", order.model_dump_json().encode())

            async def many(orders: Sequence[Order]) -> None:
                payloads = [order.model_dump_json().encode() for order in orders]
                await queries.enqueue(["nothing"] * len(payloads), payloads, [0] * len(payloads))

            yield Async(runner, one, many)

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """A `PgQueuer` on one connection."""

        async def nothing(job) -> None:  # type: ignore[no-untyped-def]
            heard(json.loads(job.payload)["number"])

        async def work() -> None:
            app = PgQueuer.from_asyncpg_connection(await asyncpg.connect(database.dsn))
            app.entrypoint("nothing")(nothing)
            await app.run(batch_size=1000 if purpose is Purpose.DRAIN else 10)

        uvloop.run(work())


SYSTEM = Pgqueuer()
