"""What `connector.report.generate` takes and gives."""

from __future__ import annotations

import datetime as dt
from typing import Literal, Self, TypeAlias

import pydantic
from pydantic import AwareDatetime, Field

Kind: TypeAlias = Literal["usage-summary", "job-analytics", "tenant-usage"]
Format: TypeAlias = Literal["json", "html", "csv"]
LONGEST = dt.timedelta(days=366)


class ReportRequest(pydantic.BaseModel):
    """What `connector.report.generate` takes.

    Attributes:
        report: Which one.
        since: From this moment of enqueueing; with its zone. `from` in JSON.
        until: Before this one; 366 days later at most.
        format: Of the artifact.
        name: The artifact's, without its extension. Default: the report and its days, such as
            `usage-summary-20261101-20261201`.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    report: Kind
    # not `alias`: type checkers would have callers write that, and `from` is no name in Python
    since: AwareDatetime = Field(validation_alias="from", serialization_alias="from")
    until: AwareDatetime
    format: Format = "html"
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,89}$")

    @pydantic.model_validator(mode="after")
    def _is_a_period(self) -> Self:
        if not dt.timedelta(0) < self.until - self.since <= LONGEST:
            raise ValueError(f"a report is of a period of at most {LONGEST.days} days, from before until")
        return self


class GeneratedReport(pydantic.BaseModel):
    """What a report's job leaves as its result: where the artifact is, and what it begins with.

    Attributes:
        report: Which one.
        format: Of the artifact.
        enqueued: Jobs of the period that it tells of.
        name: The artifact's, for `Artifacts.get`.
        media_type: The artifact's.
        size: In bytes.
        sha256: Of the bytes, in lower-case hex.
        location: Where they are, such as `s3://bucket/key`; None: in the database.
    """

    report: Kind
    format: Format
    enqueued: int
    name: str
    media_type: str
    size: int
    sha256: str
    location: str | None
