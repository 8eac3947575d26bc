"""The calls of what is said of tenants, queues and tasks, built as those in `calls`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, ColumnClause, DateTime, Double, Integer, Text, column, text

from jobforge_sa.db.calls import Call

_LIMIT: tuple[ColumnClause[Any], ...] = (
    column("scope", Text()),
    column("name", Text()),
    column("paused_at", DateTime(timezone=True)),
    column("max_running", Integer()),
    column("rate", Double()),
    column("burst", Integer()),
    column("weight", Integer()),
    column("max_waiting", Integer()),
)


class Limits:
    """What an administrator says of a tenant, a queue or a task."""

    def __init__(self, scope: str, argument: str) -> None:
        self.scope = scope
        self.pause = Call(f"pause_{scope}", {argument: "text"}, _LIMIT)
        self.resume = Call(f"resume_{scope}", {argument: "text"}, _LIMIT)
        self.limit = Call(f"limit_{scope}", {argument: "text", "change": "jsonb"}, _LIMIT)


TENANT_LIMITS = Limits("tenant", "tenant_id")
QUEUE_LIMITS = Limits("queue", "queue")
TASK_LIMITS = Limits("task", "type")
LIST_LIMITS = Call(
    "list_limits", {"scope": "text"}, (*_LIMIT, column("running", Integer()), column("bucket", Double()))
)
LIST_TENANTS = Call(
    "list_tenants",
    {},
    (
        column("tenant_id", Text()),
        *(column(name, BigInteger()) for name in ("queued", "scheduled", "running")),
        *(one for one in _LIMIT if one.name not in ("scope", "name")),
    ),
)
# for who sits at a terminal: a change in a transaction that is left open would have him wait for ever, without a word
PATIENCE = text("set local lock_timeout = '5s'")
END = "select pg_terminate_backend({pid});"
# who has changed a limit and is open; a claim does too, and has a lease to write
HOLDERS = text(
    "select l.pid from pg_locks l where l.relation = 'jobforge.limits'::regclass and l.mode = 'RowExclusiveLock' "
    "and l.granted and l.pid <> pg_backend_pid() and l.database = (select d.oid from pg_database d "
    "where d.datname = current_database()) and not exists (select from pg_locks c where c.pid = l.pid "
    "and c.relation = 'jobforge.leases'::regclass and c.mode = 'RowExclusiveLock') order by l.pid"
)
