"""The command `jobforge report`: what the job `connector.report.generate` computes, at once and without a job."""

from __future__ import annotations

import datetime as dt
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from jobforge_sa.db.report_calls import NOW
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, extras, screen, times, whole_file
from jobforge_sa.ops.options import Force, Output, Url
from jobforge_sa.ops.reader import Reader, reading

if TYPE_CHECKING:
    from jobforge_sa.handlers.report.render import Rendered
    from jobforge_sa.handlers.report.request import Kind


class Report(StrEnum):
    """Which one."""

    USAGE_SUMMARY = "usage-summary"
    JOB_ANALYTICS = "job-analytics"
    TENANT_USAGE = "tenant-usage"


class Format(StrEnum):
    """As what it is written."""

    JSON = "json"
    HTML = "html"
    CSV = "csv"


WHEN = "7d, 12h: so long ago; or an ISO time with a zone"


def report(
    name: Annotated[Report, typer.Argument(metavar="REPORT", help=f"{', '.join(Report)}.", case_sensitive=False)],
    tenant: Annotated[str, typer.Option("--tenant", metavar="TENANT", help="Of this tenant's jobs.")],
    since: Annotated[str, typer.Option("--from", metavar="WHEN", help=f"Enqueued from then on: {WHEN}.")] = "7d",
    until: Annotated[str, typer.Option("--until", metavar="WHEN", help="... and before then. Default: now.")] = "0s",
    form: Annotated[Format, typer.Option("--format", metavar="FORMAT", help=f"{', '.join(Format)}.", case_sensitive=False)] = Format.JSON,  # noqa: E501
    output: Output = None,
    force: Force = False,
    url: Url = None,
) -> None:  # fmt: skip
    """Report on a tenant's jobs that were enqueued in a period."""
    if form is Format.HTML:
        extras.require("jinja2")
    place = None if output is None else whole_file.free(output, force=force)
    with reading(database.engine(url), tenant) as reader:
        rendered = _rendered(reader, name.value, tenant, since, until, form)
    if place is None:
        sys.stdout.buffer.write(rendered.body)
        sys.stdout.buffer.flush()
        return
    with whole_file.written(place, force=force) as stream:
        stream.write(rendered.body)
    screen.note(f"{len(rendered.body):,} bytes written to {screen.one_line(output)}")


def _rendered(reader: Reader, name: Kind, tenant: str, since: str, until: str, form: Format) -> Rendered:
    # here: the handlers' models take 70 ms, and every command would wait for that
    from jobforge_sa.handlers.report.compute import compute
    from jobforge_sa.handlers.report.render import render
    from jobforge_sa.handlers.report.request import LONGEST

    reader.rows(NOW)  # the schema is looked at before its clock
    begin, end = times.moment(since, reader.now), times.moment(until, reader.now)
    if not dt.timedelta(0) < end - begin <= LONGEST:
        raise ConfigurationError(
            f"a report is of a period of at most {LONGEST.days} days, and this one goes from {times.iso(begin)} until "
            f"{times.iso(end)}",
            cure="pass --from and --until; ask for longer periods piece by piece",
        )
    found = compute(lambda call, values: reader.rows(call, **values), name, tenant, begin, end)
    return render(found, form.value)
