"""The calls that change jobs batch by batch: see `calls`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Integer, Uuid, column

from jobforge_sa.db.calls import Call

_ANSWER: Final = (column("changed", Integer()), column("skipped", Integer()), column("next_cursor", Uuid()))
_FITTING: Final = {
    "state": "text",
    "type": "text",
    "queue": "text",
    "since": "timestamptz",
    "until": "timestamptz",
    "subject": "text",
    "limit": "int4",
    "cursor": "uuid",
    "all_tenants": "bool",
    "dry_run": "bool",
    "notify": "bool",
}
CANCEL_JOBS: Final = Call("cancel_jobs", _FITTING, _ANSWER)
RETRY_JOBS: Final = Call("retry_jobs", {**_FITTING, "error": "text"}, (*_ANSWER, column("over_quota", Integer())))
RESCHEDULE_JOBS: Final = Call("reschedule_jobs", {**_FITTING, "run_at": "timestamptz", "delay": "interval"}, _ANSWER)
