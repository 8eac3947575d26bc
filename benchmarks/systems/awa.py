"""awa: a Rust core with Python handlers, on storage of its own that is appended to and rotated."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from awa import AsyncClient
from psycopg.conninfo import conninfo_to_dict

from benchmarks.board import Heard
from benchmarks.orders import ANYONE, Order, orders
from benchmarks.systems.system import Async, Database, Producer, Purpose, System

CHUNK = 50_000


@dataclass
class Nothing:
    """The arguments of the job."""

    number: int
    customer: str
    lines: list[str]
    total: float


def _url(database: Database) -> str:
    """With the socket's folder as the host: its driver takes no URL without one."""
    parts = {name: quote(str(value), safe="") for name, value in conninfo_to_dict(database.dsn).items()}
    password = f":{parts['password']}" if "password" in parts else ""
    return f"postgres://{parts['user']}{password}@{parts['host']}:{parts['port']}/{parts['dbname']}"


class Awa(System):
    """https://github.com/hardbyte/awa."""

    name = "awa"
    package = "awa-pg"
    settings = (
        "`AsyncClient`; `max_workers=1000` and `claim_batch_size=500` for drains (64 without and 256 were slower), 64"
        " and 32 for latency; `enqueue_many_copy` for many"
    )
    # what is done, and what was pruned when the ring went on: each second, as soon as a segment is done with
    channel = "awa:default"
    completed = """
        select (select coalesce(sum(cardinality(job_ids)), 0) from awa.receipt_completion_batches)
             + (select count(*) from awa.done_entries where state = 'completed')
             + (select coalesce(sum(pruned_completed_count), 0) from awa.queue_terminal_rollups)"""

    def install(self, database: Database) -> None:
        """Its migrations."""

        async def install() -> None:
            async with AsyncClient(_url(database)) as client:
                await client.migrate()
                await client.install_queue_storage()  # else the first worker would, and COPY has to wait for it

        asyncio.run(install())

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`insert`, and COPY."""
        with asyncio.Runner() as runner:

            async def connect() -> AsyncClient:
                return AsyncClient(_url(database))

            client = runner.run(connect())

            async def one(order: Order) -> None:
                await client.insert(Nothing(**order.model_dump()))

            async def many(orders: Sequence[Order]) -> None:
                await client.enqueue_many_copy([Nothing(**order.model_dump()) for order in orders])

            yield Async(runner, one, many)
            runner.run(client.close())

    def fill(self, database: Database, jobs: int) -> None:
        """By COPY: nobody else knows how its storage is laid out."""
        with self.producer(database) as producer:
            for start in range(0, jobs, CHUNK):
                producer.many(orders([ANYONE]) * min(CHUNK, jobs - start))

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """A client that has been started."""

        async def nothing(job) -> None:  # type: ignore[no-untyped-def]
            heard(job.args.number)

        async def work() -> None:
            client = AsyncClient(_url(database), max_connections=20)
            client.task(Nothing, queue="default")(nothing)
            workers = {Purpose.DRAIN: 1000, Purpose.LATENCY: 64, Purpose.FIFTY: 50}[purpose]
            await client.start([{"name": "default", "max_workers": workers, "claim_batch_size": workers // 2}])
            await asyncio.Event().wait()

        asyncio.run(work())


SYSTEM = Awa()
