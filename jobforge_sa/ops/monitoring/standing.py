"""The state of the database for monitoring: bounded queries in one transaction that only reads, an administrator's."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from jobforge_sa.db import calls, role
from jobforge_sa.ops import database
from jobforge_sa.ops.reader import SNAPSHOT, moment
from jobforge_sa.queues import QueueInfo, Queues

COUNTED = 10_000  # jobs of a queue and state: more need no exact number, and a tenth of the time of 100,000
LIMIT = "5000 ms"  # for one statement

_HERE = Path(__file__).parent / "looks"


@dataclass(frozen=True, slots=True)
class State:
    """What was found, and how long it took."""

    revision: str
    tenancy: str
    queues: Sequence[QueueInfo]
    oldest: Sequence[float]  # seconds, of each queue
    live_workers: int
    lost_workers: int
    paused: Mapping[str, int]  # of tenants, queues and tasks
    full_tenants: int
    dead_last_hour: int
    expired_leases: int
    oldest_snapshot: float
    dead_rows: Sequence[tuple[str, int]]
    seconds: float


def read(engine: Engine, count: int = COUNTED) -> State:
    """Look at all of it.

    Raises:
        ServerUnavailable, SchemaMismatch, AccessDenied: the database is not ready for that.
    """
    began = time.monotonic()
    with database.translated(engine, "jobforge_admin"), engine.execution_options(**SNAPSHOT).begin() as connection:
        connection.execute(calls.LIMIT, {"limit": LIMIT})
        queues = Queues(connection).list(count)
        now = moment(connection)
        revision, _, tenancy, *_ = connection.execute(calls.SCHEMA_VERSION).one()
        found = _as_admin(connection)
    oldest = [max((now - one.oldest).total_seconds(), 0.0) if one.oldest else 0.0 for one in queues]
    return State(revision, tenancy, queues, oldest, **found, seconds=time.monotonic() - began)


def _as_admin(connection: Connection) -> dict[str, Any]:
    role.become(connection, "jobforge_admin")
    connection.execute(calls.BY_INDEX)
    ((live, lost),) = _rows(connection, "workers")
    ((tenants, queues, tasks, full),) = _rows(connection, "tenants")
    one = {name: _rows(connection, name)[0][0] for name in ("dead_jobs", "expired_leases", "snapshots")}
    return {
        "live_workers": live, "lost_workers": lost, "full_tenants": full,
        "paused": {"tenant": tenants, "queue": queues, "task": tasks},
        "dead_last_hour": one["dead_jobs"], "expired_leases": one["expired_leases"],
        "oldest_snapshot": one["snapshots"], "dead_rows": [tuple(row) for row in _rows(connection, "dead_rows")],
    }  # fmt: skip


def _rows(connection: Connection, name: str) -> Sequence[Any]:
    return connection.exec_driver_sql(query(name), execution_options={"no_parameters": True}).all()


@cache
def query(name: str) -> str:
    """The text of one of the queries."""
    return (_HERE / f"{name}.sql").read_text(encoding="utf-8")
