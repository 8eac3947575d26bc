"""In bulk: `enqueue_many` beside COPY and beside INSERT ... SELECT unnest, into equal tables, in one transaction.

From pydantic models to the commit; all three turn the models into JSON on the way.
Not fair: by hand nothing is checked, no tenant decides, no id comes back, nobody is notified; COPY is the ceiling
of what Postgres takes and no way to enqueue for those who share a connection with an ORM.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import Any, Final

import psycopg

from benchmarks import by_hand, ours
from benchmarks.arena import Database
from benchmarks.question import Case
from jobforge_sa import Jobs

COPY_JOBS: Final = """copy yard.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, created_at)
from stdin"""
COPY_READY: Final = """copy yard.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes) from stdin"""
INSERT: Final = """with item as (select * from unnest(%s::uuid[], %s::text[]) as u (id, payload)), jobs as (
    insert into yard.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, created_at)
    select id, 'main', 'default', 'nothing', 0, payload::json, now(), 5, now() from item)
insert into yard.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
select 'default', 'main', 0, id, 'nothing', 0, 0, 0 from item"""
CHUNK: Final = 5_000


def _ours(database: Database, orders: list[ours.Order]) -> None:
    with database.engine().begin() as connection:
        Jobs(connection, tenant="main").enqueue_many(ours.nothing.new(order) for order in orders)


def _copy(database: Database, orders: list[ours.Order]) -> None:
    now = dt.datetime.now(dt.UTC)
    ids = [by_hand.new_id() for _ in orders]
    with psycopg.connect(database.dsn) as connection, connection.cursor() as cursor:
        with cursor.copy(COPY_JOBS) as copy:
            for id_, order in zip(ids, orders, strict=True):
                copy.write_row((id_, "main", "default", "nothing", 0, order.model_dump_json(), now, 5, now))
        with cursor.copy(COPY_READY) as copy:
            for id_ in ids:
                copy.write_row(("default", "main", 0, id_, "nothing", 0, 0, 0))


def _unnest(database: Database, orders: list[ours.Order]) -> None:
    with psycopg.connect(database.dsn) as connection:
        for start in range(0, len(orders), CHUNK):
            chunk = orders[start : start + CHUNK]
            rows = ([by_hand.new_id() for _ in chunk], [order.model_dump_json() for order in chunk])
            connection.execute(INSERT, rows)


def cases(*, quick: bool) -> list[Case]:
    """One size."""
    jobs = 2_000 if quick else 50_000
    orders = ours.payloads(range(jobs))

    def timed(enqueue: Any) -> Any:
        def run(database: Database) -> dict[str, float]:
            began = time.perf_counter()
            enqueue(database, orders)
            return {"throughput": jobs / (time.perf_counter() - began)}

        return run

    return [
        Case(
            f"{jobs:,} in one transaction",
            {
                "Jobs.enqueue_many": timed(_ours),
                "by hand: COPY": timed(_copy),
                "by hand: INSERT ... unnest, 5,000 each": timed(_unnest),
            },
        )
    ]
