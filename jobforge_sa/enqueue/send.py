"""Jobs on their way to the database, in the caller's transaction: one, or many in a statement."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import Connection, TwoPhaseTransaction

from jobforge_sa.db.calls import Call
from jobforge_sa.db.enqueue_calls import ENQUEUE_JOB, ENQUEUE_JOBS, ENQUEUE_PAYLOADS, driver_call
from jobforge_sa.enqueue.item import with_payload
from jobforge_sa.tenant import Named
from jobforge_sa.types import Enqueued


def send(connection: Connection, tenant: Named | None, **asked: object) -> Enqueued:
    """Enqueue one job; None is left out."""
    given = {name: value for name, value in asked.items() if value is not None}
    keyed = "idempotency_key" in given or "unique_key" in given  # else it is a new job, whatever there is
    ((id_, *answer),) = _rows(connection, ENQUEUE_JOB, tenant, given, whole=keyed)
    return Enqueued(_uuid(id_), *(answer or (True, False)))


def send_many(
    connection: Connection,
    tenant: Named | None,
    texts: Sequence[str],
    payloads: Sequence[str],
    *,
    keyed: bool,
    notify: bool,
) -> list[Enqueued]:
    """Enqueue jobs in one statement; the answers come in their order.

    Args:
        connection: The caller's.
        tenant: The tenant.
        texts: What each says beside its payload.
        payloads: Their payloads.
        keyed: Some have an idempotency or a unique key.
        notify: Wake workers.
    """
    if not keyed and texts.count(texts[0]) == len(texts):
        alike = {"payloads": _array(payloads), "job": texts[0], "notify": notify}
        return [Enqueued(_uuid(id_), True, False) for _, id_ in _rows(connection, ENQUEUE_PAYLOADS, tenant, alike)]
    given = {"jobs": _array(map(with_payload, texts, payloads)), "notify": notify}
    rows = _rows(connection, ENQUEUE_JOBS, tenant, given)
    return [Enqueued(_uuid(id_), created, differs) for _, id_, created, differs in rows]


def may_notify(connection: Connection) -> bool:
    """Whether the transaction can; a prepared one cannot: 0A000."""
    return not isinstance(connection.get_transaction(), TwoPhaseTransaction)


def _rows(
    connection: Connection, call: Call, tenant: Named | None, given: dict[str, object], *, whole: bool = True
) -> Sequence[Any]:
    if not _is_bare(connection):
        return connection.execute(call.statement(tenant), call.values(tenant, **given)).all()
    sql, values = driver_call(call, connection.dialect.paramstyle, tenant, given, whole=whole)
    with closing(connection.connection.cursor()) as cursor:
        connection._cursor_execute(cursor, sql, values)
        return cursor.fetchall()


def _array(items: Iterable[str]) -> str:
    return f"[{','.join(items)}]"


def _uuid(given: uuid.UUID | str) -> uuid.UUID:
    return given if isinstance(given, uuid.UUID) else uuid.UUID(given)  # what psycopg2 gives is text


def _is_bare(connection: Connection) -> bool:
    """Whether a statement may go to the driver past SQLAlchemy's results, whose making costs as much as an INSERT.

    Its transaction has to be one that SQLAlchemy has begun, and nobody may listen: events want a context, which there
    is none of. What is left is how its dialects send statements of their own: logged, and with its errors.
    """
    transaction = connection.get_nested_transaction() or connection.get_transaction()
    return (
        transaction is not None
        and transaction.is_active
        and not getattr(connection, "_has_events", True)  # private: the dispatcher tells, too, in ten times the time
        and not getattr(connection.engine, "_has_events", True)
        and hasattr(connection, "_cursor_execute")
    )
