"""One by one: `Jobs.enqueue` beside an INSERT by hand, in one open transaction and in a transaction each.

All through SQLAlchemy, on one `Connection` each, from a pydantic model to the server's answer.
Not fair: the bare INSERT writes the wide row only, so nothing could find the job; nobody checks the payload's size,
the names, the tenant; it is no function call with thirteen arguments; the id is made by the client. "the same
writes" adds the narrow row and the NOTIFY in one statement, still without the checks, the tenant and row security.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from benchmarks import by_hand, ours
from benchmarks.arena import Database
from benchmarks.question import Case, Run
from jobforge_sa import Jobs

WARM_UP = 50
Enqueue = Callable[[sa.Connection, ours.Order], None]

_JOB: Final = """insert into yard.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, timeout,
       retry, idempotency_key, parent_id, trace, created_at)
values (:id, 'main', 'default', 'nothing', 0, :payload, now(), 5, null, null, null, null, null, now())"""
BARE: Final = sa.text(_JOB)
SAME_WRITES: Final = sa.text(f"""with job as ({_JOB}), place as (
    insert into yard.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    values ('default', 'main', 0, :id, 'nothing', 0, 0, 0))
select pg_notify('yard', 'default')""")


def _ours(connection: sa.Connection, order: ours.Order) -> None:
    Jobs(connection, tenant="main").enqueue(ours.nothing, order)


def _by_hand(statement: sa.TextClause) -> Enqueue:
    def enqueue(connection: sa.Connection, order: ours.Order) -> None:
        connection.execute(statement, {"id": by_hand.new_id(), "payload": order.model_dump_json()})

    return enqueue


def _together(enqueue: Enqueue, jobs: int) -> Run:
    def run(database: Database) -> dict[str, float]:
        orders = ours.payloads(range(jobs + WARM_UP))
        with database.engine().connect() as connection:
            for order in orders[:WARM_UP]:
                enqueue(connection, order)
            connection.commit()
            began = time.perf_counter()
            for order in orders[WARM_UP:]:
                enqueue(connection, order)
            connection.commit()
            return {"throughput": jobs / (time.perf_counter() - began)}

    return run


def _each(enqueue: Enqueue, jobs: int) -> Run:
    def run(database: Database) -> dict[str, float]:
        orders = ours.payloads(range(jobs + WARM_UP))
        began = 0.0
        with database.engine().connect() as connection:
            for position, order in enumerate(orders):
                if position == WARM_UP:
                    began = time.perf_counter()
                enqueue(connection, order)
                connection.commit()
            return {"throughput": jobs / (time.perf_counter() - began)}

    return run


def cases(*, quick: bool) -> list[Case]:
    """In an open transaction, and with a commit each."""
    ways = {
        "Jobs.enqueue": _ours,
        "by hand: bare INSERT": _by_hand(BARE),
        "by hand: the same writes": _by_hand(SAME_WRITES),
    }
    together, each = (200, 100) if quick else (3_000, 1_000)
    return [
        Case(f"{together:,} in one transaction", {name: _together(way, together) for name, way in ways.items()}),
        Case(f"{each:,} in a transaction each", {name: _each(way, each) for name, way in ways.items()}),
    ]
