"""The calls that enqueue: as statements of SQLAlchemy, and as a driver takes them.

The second have only the arguments that are given, and only the columns that say something: each costs a microsecond or
two on its way, whatever is in it (docs/decisions/0028).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Boolean, Uuid, column

from jobforge_sa.db import tenant
from jobforge_sa.db.calls import Call, plain, sql
from jobforge_sa.tenant import Named, SignedTenant

_ID = column("id", Uuid())
_ENQUEUED = (_ID, column("created", Boolean()), column("payload_differs", Boolean()))

ENQUEUE_JOB = Call(
    "enqueue_job",
    {
        "type": "text",
        "payload": "json",
        "queue": "text",
        "priority": "int4",
        "run_at": "timestamptz",
        "delay": "interval",
        "idempotency_key": "text",
        "max_attempts": "int4",
        "retry": "jsonb",
        "timeout": "interval",
        "trace": "json",
        "parent_id": "uuid",
        "subject": "text",
        "notify": "bool",
        "unique_key": "text",
        "on_duplicate": "text",
        "ordering_key": "text",
    },
    _ENQUEUED,
)
ENQUEUE_JOBS = Call("enqueue_jobs", {"jobs": "json", "notify": "bool"}, (column("position", BigInteger()), *_ENQUEUED))
ENQUEUE_PAYLOADS = Call(
    "enqueue_payloads", {"payloads": "json", "job": "json", "notify": "bool"}, (column("position", BigInteger()), _ID)
)


def driver_call(
    call: Call, paramstyle: str, named: Named | None, given: Mapping[str, object], *, whole: bool = True
) -> tuple[str, tuple[Any, ...]]:
    """The call as a driver's text, and the values that stand in it, in their order.

    Args:
        call: One of the above.
        paramstyle: The driver's: `$1` where it is numbered, else `%s`.
        named: The tenant.
        given: The arguments that are given.
        whole: All columns; otherwise the first one alone.
    """
    kind: type | None = None if named is None else type(named)
    values = [plain(value) for value in given.values()]
    if named is not None:
        values = [*tenant.binds(named).values(), *values]
    return _driver_text(call, paramstyle, kind, tuple(given), whole), tuple(values)


@lru_cache(maxsize=1000)
def _driver_text(call: Call, paramstyle: str, kind: type | None, given: tuple[str, ...], whole: bool) -> str:
    context = None if kind is None else tenant.SIGNED if kind is SignedTenant else tenant.PLAIN
    text = sql(
        call.function, {name: call.arguments[name] for name in given}, call.columns[: None if whole else 1], context
    )
    number = itertools.count(1)
    return re.sub(r":\w+", lambda _: f"${next(number)}" if "numeric" in paramstyle else "%s", text)
