"""A report as CSV (RFC 4180): every field in quotes, CRLF, UTF-8; and nothing in it that a spreadsheet would run.

A row for each day, type or group, and no row of totals among them: whoever adds a column up counts nothing twice.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator, Mapping

from jobforge_sa.handlers.report.documents import Head, JobAnalytics, Report, TenantUsage, UsageSummary
from jobforge_sa.handlers.report.words import plain

_JOBS = ("enqueued", "succeeded", "dead", "canceled", "unfinished", "attempts")
_HEAD = ("tenant_id", "from", "until", "complete_since", "back_to")
# what the rows of each have behind the head: of pydantic's fields, so that JSON and CSV have the same names
_TIMES = tuple(f"{what}_p{part}" for what in ("run", "wait") for part in (50, 95, 99))
_COLUMNS: Mapping[type[Report], tuple[str, ...]] = {
    UsageSummary: ("day", *_JOBS, "run_seconds"),
    JobAnalytics: ("type", *_JOBS, "retries", "lost", "success_rate", *_TIMES, "top_error", "top_error_count"),
    TenantUsage: (
        "queue", "type", "enqueued", "attempts", "run_seconds", "payload_bytes", "result_bytes", "artifact_bytes",
    ),
}  # fmt: skip
# a cell that begins so is a formula to one spreadsheet or another, also behind blanks and in their full width
_FORMULA = tuple("=+-@\t\r\n|%＝＋－＠")


def write(report: Report) -> str:
    """The whole text."""
    columns = (*_HEAD, *_COLUMNS[type(report)])
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow(columns)
    head = report.model_dump(include=set(Head.model_fields), by_alias=True)
    for row in _rows(report):
        writer.writerow([cell((head | row).get(column)) for column in columns])
    return out.getvalue()


def cell(value: object) -> str:
    """A value as the text of a cell: numbers and times as they are, of text nothing that could be run."""
    match value:
        case None:
            return ""
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
        case int():
            return str(value)
        case dt.datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dt.date():
            return value.isoformat()
    text = str(value)
    shown = plain(text)
    return f"'{shown}" if text.lstrip().startswith(_FORMULA) or text.startswith(_FORMULA) else shown


def _rows(report: Report) -> Iterator[dict[str, object]]:
    match report:
        case UsageSummary():
            yield from (day.model_dump() for day in report.days)
        case TenantUsage():
            yield from (group.model_dump() for group in report.groups)
        case JobAnalytics():
            for one in report.types:
                worst = one.errors[0] if one.errors else None
                yield one.model_dump() | {
                    "top_error": worst and worst.type, "top_error_count": worst.count if worst else 0,
                }  # fmt: skip
