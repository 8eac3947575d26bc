"""Jobs, attempts and findings as JSON: the same keys always, ISO times in UTC, durations in seconds."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

from jobforge_sa.models import Attempt
from jobforge_sa.ops import times
from jobforge_sa.ops.doctor.report import Finding
from jobforge_sa.types import JobInfo

_ATTEMPT = ("run", "attempt", "outcome", "worker_id", "claimed_at", "finished_at", "run_ms", "error")


def job(info: JobInfo) -> dict[str, Any]:
    """A job, under the names of `JobInfo`."""
    return {field.name: getattr(info, field.name) for field in dataclasses.fields(info)}


def attempt(one: Attempt) -> dict[str, Any]:
    """An ended run, under the names of `Attempt`, without those of its job."""
    return {name: getattr(one, name) for name in _ATTEMPT}


def finding(one: Finding) -> dict[str, Any]:
    """What the doctor found, under the names of `Finding`."""
    return dataclasses.asdict(one)


def line(record: Mapping[str, Any]) -> str:
    """One line of JSON, in ASCII: so no data in it can move a terminal or fail to be written."""
    return json.dumps(record, default=_plain)


def _plain(value: object) -> object:
    match value:
        case dt.datetime():
            return times.iso(value)
        case dt.timedelta():
            return value.total_seconds()
    return str(value)
