"""One by one: `Jobs.enqueue` beside an INSERT, through one `Session` each; in one open transaction, and in one each.

All through SQLAlchemy, from a pydantic model to the server's answer. "INSERT of the row" is the bare INSERT of the same
row: SQLAlchemy's own `insert()`, into a table with the same indexes.
Not fair: it writes the wide row only, so nothing could find the job; nobody checks the payload's size, the names, the
tenant, the quota; no row security; the id is made by the client. "as text" is the same in SQL by hand, with two binds.
"the same writes" adds the narrow row and the NOTIFY in one statement, still without the checks, the tenant and row
security.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from benchmarks import by_hand, ours
from benchmarks.arena import Database
from benchmarks.question import Case, Run
from jobforge_sa import Jobs

WARM_UP = 50
Enqueue = Callable[[Session, ours.Order], None]

_MOMENT: Final = sa.DateTime(timezone=True)
JOBS: Final = sa.table(
    "jobs",
    sa.column("id", sa.Uuid()), sa.column("tenant_id", sa.Text()), sa.column("queue", sa.Text()),
    sa.column("type", sa.Text()), sa.column("priority", sa.SmallInteger()), sa.column("payload", sa.JSON()),
    sa.column("run_at", _MOMENT), sa.column("max_attempts", sa.Integer()), sa.column("created_at", _MOMENT),
    schema="yard",
)  # fmt: skip
INSERT: Final = sa.insert(JOBS)
_JOB: Final = """insert into yard.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, timeout,
       retry, idempotency_key, parent_id, trace, created_at)
values (:id, 'main', 'default', 'nothing', 0, :payload, now(), 5, null, null, null, null, null, now())"""
BARE: Final = sa.text(_JOB)
SAME_WRITES: Final = sa.text(f"""with job as ({_JOB}), place as (
    insert into yard.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
    values ('default', 'main', 0, :id, 'nothing', 0, 0, 0))
select pg_notify('yard', 'default')""")


def _ours(session: Session, order: ours.Order) -> None:
    Jobs(session, tenant="main").enqueue(ours.nothing, order)


def _row(order: ours.Order) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    return {"id": by_hand.new_id(), "tenant_id": "main", "queue": "default", "type": "nothing", "priority": 0,
            "payload": order.model_dump(), "run_at": now, "max_attempts": 5, "created_at": now}  # fmt: skip


def _insert(session: Session, order: ours.Order) -> None:
    session.execute(INSERT, _row(order))


def _by_hand(statement: sa.TextClause) -> Enqueue:
    def enqueue(session: Session, order: ours.Order) -> None:
        session.execute(statement, {"id": by_hand.new_id(), "payload": order.model_dump_json()})

    return enqueue


def _together(enqueue: Enqueue, jobs: int) -> Run:
    def run(database: Database) -> dict[str, float]:
        orders = ours.payloads(range(jobs + WARM_UP))
        with Session(database.engine()) as session:
            for order in orders[:WARM_UP]:
                enqueue(session, order)
            session.commit()
            began = time.perf_counter()
            for order in orders[WARM_UP:]:
                enqueue(session, order)
            session.commit()
            return {"throughput": jobs / (time.perf_counter() - began)}

    return run


def _each(enqueue: Enqueue, jobs: int) -> Run:
    def run(database: Database) -> dict[str, float]:
        orders = ours.payloads(range(jobs + WARM_UP))
        began = 0.0
        with Session(database.engine()) as session:
            for position, order in enumerate(orders):
                if position == WARM_UP:
                    began = time.perf_counter()
                enqueue(session, order)
                session.commit()
            return {"throughput": jobs / (time.perf_counter() - began)}

    return run


def cases(*, quick: bool) -> list[Case]:
    """In an open transaction, and with a commit each."""
    ways = {
        "Jobs.enqueue": _ours,
        "INSERT of the row": _insert,
        "by hand: INSERT as text": _by_hand(BARE),
        "by hand: the same writes": _by_hand(SAME_WRITES),
    }
    together, each = (200, 100) if quick else (3_000, 1_000)
    return [
        Case(f"{together:,} in one transaction", {name: _together(way, together) for name, way in ways.items()}),
        Case(f"{each:,} in a transaction each", {name: _each(way, each) for name, way in ways.items()}),
    ]
