"""The reports as documents: what is in the JSON, and what the other formats are made of.

The names and meanings of a schema's version stay; a later one may only add. Times are in UTC, durations in seconds.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import pydantic
from pydantic import Field


class _Document(pydantic.BaseModel):
    # a number that is none would be no JSON: it is refused here
    model_config = pydantic.ConfigDict(
        frozen=True, populate_by_name=True, allow_inf_nan=False, extra="forbid", defer_build=True
    )


class Head(_Document):
    """What every report begins with.

    Attributes:
        tenant_id: Whose jobs.
        since: Of the jobs that were enqueued from here on; `from` in JSON.
        until: ... and before that.
        generated_at: The database's time.
        complete_since: Jobs that were enqueued since then are all there; of older ones, some may have been pruned after
            their end. None: nothing is ever pruned.
        back_to: None, or the period has more jobs than are looked at, and only those since then were counted.
    """

    tenant_id: str
    since: dt.datetime = Field(validation_alias="from", serialization_alias="from")
    until: dt.datetime
    generated_at: dt.datetime
    complete_since: dt.datetime | None
    back_to: dt.datetime | None


class Jobs(_Document):
    """How jobs ended so far.

    Attributes:
        enqueued: All of them.
        succeeded: Of these.
        dead: They failed for good.
        canceled: Somebody wanted that.
        unfinished: They wait or run.
        attempts: Runs that were charged: they succeeded, failed or timed out.
    """

    enqueued: int
    succeeded: int
    dead: int
    canceled: int
    unfinished: int
    attempts: int


class Usage(Jobs):
    """Jobs, and how long their handlers ran: `run_seconds`. Of runs that were lost nobody knows."""

    run_seconds: float


class DayUsage(Usage):
    """Of the jobs that were enqueued on one day, in UTC."""

    day: dt.date


class ErrorCount(_Document):
    """The type of an error, and how many runs ended with it."""

    type: str
    count: int


class Analytics(Jobs):
    """How jobs went.

    Attributes:
        retries: Attempts beyond a job's first.
        lost: Runs whose worker died.
        success_rate: Of succeeded and dead jobs, 0 to 1; None where there are none.
        run_p50: Seconds that half of the handlers' runs took at most; and so on. None where none ended.
        wait_p50: Seconds from being due to the first claim.
        errors: The five commonest types. Messages are not told: data stands in them.
    """

    retries: int
    lost: int
    success_rate: float | None
    run_p50: float | None
    run_p95: float | None
    run_p99: float | None
    wait_p50: float | None
    wait_p95: float | None
    wait_p99: float | None
    errors: Sequence[ErrorCount]


class TypeAnalytics(Analytics):
    """Of one type of jobs."""

    type: str


class Space(_Document):
    """What jobs take up, as it is stored: compressed where it is large.

    Attributes:
        enqueued: The jobs.
        attempts: Runs that were charged.
        run_seconds: How long their handlers ran.
        payload_bytes: Of what was asked.
        result_bytes: Of what handlers returned and is kept.
        artifact_bytes: Of artifacts in the database.
    """

    enqueued: int
    attempts: int
    run_seconds: float
    payload_bytes: int
    result_bytes: int
    artifact_bytes: int


class GroupSpace(Space):
    """Of one type in one queue."""

    queue: str
    type: str


class Limits(_Document):
    """What holds for the tenant now.

    Attributes:
        max_waiting: So many of its jobs may wait; None: as many as it likes.
        paused_at: Its jobs are not claimed, since then.
        max_payload_bytes: Of one job.
        max_artifact_bytes: Of one artifact in the database.
    """

    max_waiting: int | None
    paused_at: dt.datetime | None
    max_payload_bytes: int
    max_artifact_bytes: int


class UsageSummary(Head):
    """`usage-summary`: what a tenant has used, day by day."""

    title: ClassVar[str] = "Usage summary"
    schema_: Literal["jobforge.report.usage-summary/1"] = Field(
        default="jobforge.report.usage-summary/1", validation_alias="schema", serialization_alias="schema"
    )
    total: Usage
    days: Sequence[DayUsage]


class JobAnalytics(Head):
    """`job-analytics`: how a tenant's jobs went, by type. Of `kinds` types the 100 with most jobs are told apart."""

    title: ClassVar[str] = "Job analytics"
    schema_: Literal["jobforge.report.job-analytics/1"] = Field(
        default="jobforge.report.job-analytics/1", validation_alias="schema", serialization_alias="schema"
    )
    total: Analytics
    kinds: int
    types: Sequence[TypeAnalytics]


class TenantUsage(Head):
    """`tenant-usage`: what a tenant takes up, by queue and type, and its limits; of `kinds` groups the 200 largest."""

    title: ClassVar[str] = "Tenant usage"
    schema_: Literal["jobforge.report.tenant-usage/1"] = Field(
        default="jobforge.report.tenant-usage/1", validation_alias="schema", serialization_alias="schema"
    )
    total: Space
    kinds: int
    groups: Sequence[GroupSpace]
    limits: Limits


Report: TypeAlias = UsageSummary | JobAnalytics | TenantUsage


def schemas() -> dict[str, dict[str, Any]]:
    """Each document's JSON schema, by what stands in its field `schema`."""
    return {
        str(kind.model_fields["schema_"].default): kind.model_json_schema(mode="serialization")
        for kind in (UsageSummary, JobAnalytics, TenantUsage)
    }
