"""A report as bytes, in one of its formats."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobforge_sa.handlers.report import table
from jobforge_sa.handlers.report.documents import Report
from jobforge_sa.handlers.report.request import Format


@dataclass(frozen=True, slots=True)
class Rendered:
    """The bytes, and of which media type they are."""

    media_type: str
    body: bytes = field(repr=False)


def render(report: Report, format: Format) -> Rendered:  # noqa: A002 - the contract's word
    """A report as JSON, HTML or CSV; all in UTF-8.

    Raises:
        ImportError: jinja2 is not installed, and HTML needs it.
    """
    match format:
        case "json":
            text = report.model_dump_json(by_alias=True, indent=2)
            return Rendered("application/json", f"{text}\n".encode())
        case "csv":
            return Rendered("text/csv; charset=utf-8", table.write(report).encode("utf-8", "replace"))
        case "html":
            from jobforge_sa.handlers.report import page  # jinja2: nothing for a process that only enqueues

            return Rendered("text/html; charset=utf-8", page.write(report).encode("utf-8", "replace"))
