"""The calls of reports: what a tenant's jobs of a period came to. As in `calls`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Date, DateTime, Double, Integer, Text, column

from jobforge_sa.db.calls import Call

_PERIOD: Final = {"from": "timestamptz", "until": "timestamptz", "limit": "int4"}
_BACK_TO: Final = column("back_to", DateTime(timezone=True))

USAGE_SUMMARY: Final = Call(
    "report_usage_summary",
    _PERIOD,
    (
        column("day", Date()),
        *(
            column(name, BigInteger())
            for name in ("enqueued", "succeeded", "dead", "canceled", "unfinished", "attempts")
        ),
        column("run_seconds", Double()),
        _BACK_TO,
    ),
)
JOB_ANALYTICS: Final = Call(
    "report_job_analytics",
    _PERIOD,
    (
        column("type", Text()),
        *(column(name, BigInteger()) for name in ("enqueued", "succeeded", "dead", "canceled", "unfinished")),
        *(column(name, BigInteger()) for name in ("attempts", "retries", "lost")),
        column("success_rate", Double()),
        *(column(f"run_p{part}", Double()) for part in (50, 95, 99)),
        *(column(f"wait_p{part}", Double()) for part in (50, 95, 99)),
        column("errors", Text()),
        column("kinds", BigInteger()),
        _BACK_TO,
    ),
)
TENANT_USAGE: Final = Call(
    "report_tenant_usage",
    _PERIOD,
    (
        column("queue", Text()),
        column("type", Text()),
        column("enqueued", BigInteger()),
        column("attempts", BigInteger()),
        column("run_seconds", Double()),
        *(column(f"{what}_bytes", BigInteger()) for what in ("payload", "result", "artifact")),
        column("kinds", BigInteger()),
        _BACK_TO,
        column("max_waiting", Integer()),
        column("paused_at", DateTime(timezone=True)),
        column("max_artifact_bytes", Integer()),
    ),
)
COMPLETE_SINCE: Final = Call("complete_since", {}, (column("r", DateTime(timezone=True)),))
NOW: Final = Call("now", {}, (column("r", DateTime(timezone=True)),))
