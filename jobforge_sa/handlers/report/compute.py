"""A report computed: one call of the database's, and its rows as a document."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from jobforge_sa import redaction
from jobforge_sa.db import report_calls
from jobforge_sa.db.calls import Call
from jobforge_sa.handlers.report.documents import (
    Analytics,
    DayUsage,
    GroupSpace,
    JobAnalytics,
    Limits,
    Report,
    Space,
    TenantUsage,
    TypeAnalytics,
    Usage,
    UsageSummary,
)
from jobforge_sa.handlers.report.request import Kind
from jobforge_sa.handlers.report.words import plain
from jobforge_sa.tasks import MAX_PAYLOAD_BYTES

Ask: TypeAlias = Callable[[Call, Mapping[str, object]], Sequence[Any]]  # the rows that a call answers, under the tenant


def compute(ask: Ask, report: Kind, tenant_id: str, since: dt.datetime, until: dt.datetime) -> Report:
    """A report of the tenant that the asker's transaction has.

    Raises:
        InvalidJob: the period is none, or longer than 366 days.
    """
    (now,) = ask(report_calls.NOW, {})
    (complete,) = ask(report_calls.COMPLETE_SINCE, {})
    head = {
        "tenant_id": tenant_id, "since": _utc(since), "until": _utc(until), "generated_at": _utc(now[0]),
        "complete_since": _utc(complete[0]),
    }  # fmt: skip
    period = {"from": since, "until": until}
    match report:
        case "usage-summary":
            return _usage_summary(ask, period, head)
        case "job-analytics":
            return _job_analytics(ask, period, head)
        case "tenant-usage":
            return _tenant_usage(ask, period, head)


def _usage_summary(ask: Ask, period: Mapping[str, object], head: Mapping[str, Any]) -> UsageSummary:
    total, *days = (_values(row) for row in ask(report_calls.USAGE_SUMMARY, period))
    return UsageSummary(
        **head, back_to=_utc(total["back_to"]), total=_as(Usage, total), days=[_as(DayUsage, day) for day in days]
    )


def _job_analytics(ask: Ask, period: Mapping[str, object], head: Mapping[str, Any]) -> JobAnalytics:
    total, *types = (_values(row) for row in ask(report_calls.JOB_ANALYTICS, period))
    return JobAnalytics(
        **head, back_to=_utc(total["back_to"]), total=_as(Analytics, total), kinds=total["kinds"],
        types=[_as(TypeAnalytics, one) for one in types],
    )  # fmt: skip


def _tenant_usage(ask: Ask, period: Mapping[str, object], head: Mapping[str, Any]) -> TenantUsage:
    total, *groups = (_values(row) for row in ask(report_calls.TENANT_USAGE, period))
    limits = Limits(
        max_waiting=total["max_waiting"], paused_at=_utc(total["paused_at"]), max_payload_bytes=MAX_PAYLOAD_BYTES,
        max_artifact_bytes=total["max_artifact_bytes"],
    )  # fmt: skip
    return TenantUsage(
        **head, back_to=_utc(total["back_to"]), total=_as(Space, total), kinds=total["kinds"],
        groups=[_as(GroupSpace, one) for one in groups], limits=limits,
    )  # fmt: skip


def _values(row: Any) -> dict[str, Any]:
    """A row; its fractions to the microsecond, and its errors' types without what looks like a secret."""
    given: dict[str, Any] = row._asdict()
    values = {name: round(value, 6) if isinstance(value, float) else value for name, value in given.items()}
    if "errors" in values:
        found = json.loads(given["errors"])
        values["errors"] = [{"type": plain(redaction.text(one["type"])), "count": one["count"]} for one in found]
    return values


def _as(kind: Any, values: Mapping[str, Any]) -> Any:
    return kind(**{name: values[name] for name in kind.model_fields})


def _utc(time: dt.datetime | None) -> dt.datetime | None:
    return None if time is None else time.astimezone(dt.UTC)
