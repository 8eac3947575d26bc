"""DBOS: durable workflows; a job is one of a single step, on a queue."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from dbos import DBOS, DBOSClient

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Database, Plain, Producer, Purpose, System

OPTIONS = {"workflow_name": "nothing", "queue_name": "bench"}
_heard: Callable[[int], None]


def nothing(payload: dict[str, Any]) -> None:
    """The handler."""
    _heard(payload["number"])


def _launch(database: Database, at_once: int) -> None:
    config = {
        "name": "bench", "system_database_url": _url(database), "application_version": "1", "executor_id": "bench",
        "sys_db_pool_size": 20, "max_executor_threads": 8, "log_level": "ERROR",
    }  # fmt: skip
    DBOS(config=config)
    DBOS.workflow(name="nothing")(nothing)
    DBOS.launch()
    DBOS.register_queue("bench", worker_concurrency=at_once, polling_interval_sec=0.05, on_conflict="always_update")


def _url(database: Database) -> str:
    return database.dsn.replace("postgresql://", "postgresql+psycopg://")


class Dbos(System):
    """https://github.com/dbos-inc/dbos-transact-py."""

    name = "dbos"
    package = "dbos"
    settings = (
        "a plain workflow on a queue with `worker_concurrency=1000` for drains and 100 for latency, polled each 0.05 s"
        " instead of 1 s, 8 threads, a pool of 20"
    )
    completed = "select count(*) from dbos.workflow_status where status = 'SUCCESS'"
    bulk = 5_000
    copies = {  # noqa: RUF012
        "dbos.workflow_status": {"workflow_uuid": "'copy-' || n"},
        "dbos.workflow_input": {"workflow_uuid": "'copy-' || n"},
    }

    def install(self, database: Database) -> None:
        """Its migrations, when it is launched."""
        _launch(database, 1000)
        DBOS.destroy()

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """`enqueue`, and `enqueue_in_transaction` in a loop."""
        client = DBOSClient(system_database_url=_url(database))
        engine = sa.create_engine(_url(database), poolclass=sa.NullPool)

        def many(orders: Sequence[Order]) -> None:
            with engine.begin() as connection:
                for order in orders:
                    client.enqueue_in_transaction(connection, OPTIONS, order.model_dump())

        yield Plain(lambda order: client.enqueue(OPTIONS, order.model_dump()), many)
        client.destroy()

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """An application that is launched."""
        global _heard
        _heard = heard
        _launch(database, {Purpose.DRAIN: 1000, Purpose.LATENCY: 100, Purpose.FIFTY: 50}[purpose])
        threading.Event().wait()


SYSTEM = Dbos()
