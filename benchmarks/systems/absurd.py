"""absurd: durable tasks, whose engine is plpgsql; a job is one without steps."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from absurd_sdk import Absurd
from absurdctl import BUNDLED_SCHEMA_SQL

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Database, Plain, Producer, Purpose, System, sequential


class AbsurdQueue(System):
    """https://github.com/earendil-works/absurd."""

    name = "absurd"
    package = "absurd-sdk"
    settings = (
        "the worker of one thread, `batch_size=1000` for drains and 10 for latency, polled each 0.05 s, not 0.25 s"
    )
    completed = "select count(*) from absurd.t_default where state = 'completed'"
    bulk = 5_000
    copies = {  # noqa: RUF012
        "absurd.t_default": {"task_id": sequential(1), "last_attempt_run": sequential(2)},
        "absurd.r_default": {"run_id": sequential(2), "task_id": sequential(1)},
    }

    def install(self, database: Database) -> None:
        """The schema that its command line brings, and a queue."""
        with database.connect() as connection:
            connection.execute(BUNDLED_SCHEMA_SQL.encode())
            connection.execute("select absurd.create_queue('default')")

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`spawn`, in a loop in one transaction for many."""
        with database.connect() as connection:
            app = Absurd(connection)

            def one(order: Order) -> None:
                app.spawn("nothing", order.model_dump(), queue="default")

            def many(orders: Sequence[Order]) -> None:
                with connection.transaction():
                    for order in orders:
                        one(order)

            yield Plain(one, many)

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """Its worker."""

        def nothing(params: dict[str, Any], _ctx: Any) -> None:
            heard(params["number"])
            if purpose is Purpose.FIFTY:
                time.sleep(0.02)  # so that all threads are needed

        app = Absurd(database.dsn)
        app.register_task("nothing")(nothing)
        at_once = 50 if purpose is Purpose.FIFTY else 1
        app.start_worker(concurrency=at_once, batch_size=1000 if purpose is Purpose.DRAIN else 10, poll_interval=0.05)


SYSTEM = AbsurdQueue()
