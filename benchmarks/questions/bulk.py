"""In bulk, in one transaction, by the fastest way that each system offers: ours is `Jobs.enqueue_many`.

From pydantic models to the commit; all turn them into JSON on the way. "COPY, our tables" writes the same rows into
tables equal to ours, "by hand" is COPY into one table with one index: the ceiling of what Postgres takes.
Not fair: by hand nothing is checked, no tenant decides, no id comes back; and COPY is no way to enqueue for those who
share a connection with an ORM. Peers whose bulk is a loop of INSERTs are given fewer jobs, so that it ends today;
SAQ has none and joins no transaction, so it commits each, in 20 lanes at once. awa enqueues by COPY, and gives no ids.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import psycopg

from benchmarks import twins
from benchmarks.drained import WRITTEN
from benchmarks.orders import Order, orders
from benchmarks.question import RATE, Case, Contender, Measured, Metric, Setting
from benchmarks.systems.system import Database, Producer, System

METRICS = (RATE, Metric("WAL", "B/job"))
WARM_UP = 10


def _timed(database: Database, producer: Producer, made: Sequence[Order]) -> Measured:
    written, began = database.value(WRITTEN), time.perf_counter()
    producer.many(made)
    seconds = time.perf_counter() - began
    return {"throughput": len(made) / seconds, "WAL": (database.value(WRITTEN) - written) / len(made)}


def _of(system: System, jobs: int) -> Contender:
    made = orders(range(jobs))

    def run(database: Database) -> Measured:
        with system.producer(database) as producer:
            producer.each(made[:WARM_UP])
            return _timed(database, producer, made)

    return Contender(lambda place: place.template(system), run)


def _copy(jobs: int) -> Contender:
    made = orders(range(jobs))

    def run(database: Database) -> Measured:
        tables = twins.twins(database)
        with psycopg.connect(database.dsn) as connection, connection.cursor() as cursor:
            written, began = database.value(WRITTEN), time.perf_counter()
            ids = [twins.new_id() for _ in made]
            for twin in tables:
                with cursor.copy(f"copy {twin.table} ({twin.columns}) from stdin".encode()) as copy:
                    for id_, order in zip(ids, made, strict=True):
                        payload = order.model_dump_json() if "payload" in twin.row else ""
                        copy.write_row(tuple(twin.values(id_, payload).values()))
            connection.commit()
            seconds = time.perf_counter() - began
        return {"throughput": jobs / seconds, "WAL": (database.value(WRITTEN) - written) / jobs}

    return Contender(twins.template, run)


def cases(setting: Setting) -> list[Case]:
    """One size, and a smaller one for those who would take minutes."""
    jobs, systems = setting.size(50_000, 500), setting.without("by hand 500")
    slow = [system.name for system in systems if system.bulk < jobs]
    less = f" (5,000: {', '.join(slow)})" if slow else ""
    contenders = {system.name: _of(system, min(jobs, system.bulk)) for system in systems}
    return [Case(f"{jobs:,} in one transaction{less}", contenders | {"COPY, our tables": _copy(jobs)}, METRICS, plot="throughput")]  # fmt: skip  # noqa: E501
