"""procrastinate: one job per fetch, events by triggers, on psycopg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Database, Plain, Producer, Purpose, System


class Procrastinate(System):
    """https://github.com/procrastinate-org/procrastinate."""

    name = "procrastinate"
    package = "procrastinate"
    settings = "`concurrency=20` (1, 10, 20 and 50 measured the same), a pool of 10, LISTEN"
    channel = "procrastinate_queue_v1#default"
    completed = "select count(*) from procrastinate_jobs where status = 'succeeded'"
    copies = {"procrastinate_jobs": {"id": ""}}  # noqa: RUF012

    def install(self, database: Database) -> None:
        """Its script."""
        with App(connector=SyncPsycopgConnector(conninfo=database.dsn)).open() as app:
            app.schema_manager.apply_schema()

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`defer` and `batch_defer`."""
        with App(connector=SyncPsycopgConnector(conninfo=database.dsn)).open() as app:
            task = app.task(name="nothing", queue="default")(_nothing)

            def many(orders: Sequence[Order]) -> None:
                task.batch_defer(*(order.model_dump() for order in orders))

            yield Plain(lambda order: task.defer(**order.model_dump()), many)

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """Its worker."""

        async def nothing(**payload: Any) -> None:
            heard(payload["number"])

        app = App(connector=PsycopgConnector(conninfo=database.dsn, max_size=10))
        app.task(name="nothing", queue="default")(nothing)
        app.run_worker(concurrency=50 if purpose is Purpose.FIFTY else 20)


async def _nothing(**_payload: Any) -> None:
    """What is deferred."""


SYSTEM = Procrastinate()
