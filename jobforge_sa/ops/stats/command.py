"""The command `jobforge stats`."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

import typer

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.options import Json, TenantName, Url
from jobforge_sa.ops.reader import reading
from jobforge_sa.ops.stats import figures as statistics
from jobforge_sa.ops.stats import page as stats_page


def stats(
    url: Url = None,
    tenant: TenantName = None,
    task_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Of this type only.")] = None,
    queue: Annotated[str | None, typer.Option(metavar="QUEUE", help="Of this queue only.")] = None,
    since: Annotated[str, typer.Option(metavar="WHEN", help="In the last 90s, 15m, 2h, 3d, 1w; or since an ISO time with a zone.")] = "1h",  # noqa: E501
    limit: Annotated[int, typer.Option(min=1, max=10_000_000, metavar="N", help="Of the newest so many jobs: what bounds the cost.")] = 50_000,  # noqa: E501
    as_json: Json = False,
) -> None:  # fmt: skip
    """Say how runs ended, how long they took and waited, by type and queue."""
    asked = _asked(since)
    with reading(database.engine(url), tenant) as reader:
        found = statistics.fetch(reader, asked, type=task_type, queue=queue, limit=limit)
    if as_json:
        for one in (found.total, *found.ends):
            typer.echo(records.line(found.record(one)))
    elif not found.ends:
        typer.echo(f"no run ended in the last {times.span(found.now - found.since)}")
    else:
        console = screen.console()
        screen.show(console, *stats_page.parts(found, console.width))


def _asked(since: str) -> dt.timedelta | dt.datetime:
    try:
        return times.duration(since)
    except ConfigurationError:
        return times.moment(since, dt.datetime.min.replace(tzinfo=dt.UTC))
