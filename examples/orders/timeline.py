"""The rush as a picture: a row for each shop and each line of jobs, from left to right by the database's clock."""

import datetime as dt
import uuid
from collections.abc import Sequence
from itertools import pairwise

from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from examples.orders.database import operator
from examples.orders.ledger import Rush
from examples.orders.rush import AT_ONCE, BESIDE, CAPPED, FLOODS, ORDERLY, RATE
from examples.orders.rush_promises import runs
from jobforge_sa.models import Attempt

BARS = "▁▂▃▄▅▆▇█"


def timeline(engine: Engine, rush: Rush, width: int) -> Table:
    """As wide as that; what a row is about takes 38 columns of it."""
    with operator(engine) as session:
        flood, guests, photos, parcels, *lines = (
            runs(session, jobs) for jobs in (rush.flood, rush.guests, rush.photos, rush.parcels, *rush.lines.values())
        )
    together = [run for some in (flood, guests, photos, parcels, *lines) for run in some]
    start, end = min(run.claimed_at for run in together), max(run.finished_at for run in together)
    columns = min(width, 100) - 38
    moments = [start + (end - start) / columns * column for column in range(columns + 1)]

    table = Table(box=None, padding=(0, 0, 0, 2), show_header=False)
    table.add_row(FLOODS, f"{len(flood):,} jobs at once", _bars(_running(flood, moments), "blue"))
    table.add_row(BESIDE, f"{len(guests)} jobs, one by one", _bars(_begun(guests, moments), "green"))
    table.add_row(CAPPED, f"{len(photos)} jobs, {AT_ONCE} at a time", _bars(_running(photos, moments), "magenta"))
    table.add_row(ORDERLY, f"{len(parcels)} jobs, {RATE} a second", _bars(_begun(parcels, moments), "yellow"))
    for (product, jobs), line in zip(rush.lines.items(), lines, strict=True):
        table.add_row("", f"{len(jobs)} in line for the {product}", _numbers(line, jobs, moments))
    axis = f" {(end - start).total_seconds():.1f} s ".center(columns - 2, "─")
    table.add_row("", "", f"├{axis}┤", style="bright_black")
    return table


def _begun(some: Sequence[Attempt], moments: Sequence[dt.datetime]) -> list[int]:
    """How many of them began in each column."""
    return [sum(one <= run.claimed_at < two for run in some) for one, two in pairwise(moments)]


def _running(some: Sequence[Attempt], moments: Sequence[dt.datetime]) -> list[int]:
    return [sum(run.claimed_at <= moment < run.finished_at for run in some) for moment in moments[:-1]]


def _bars(counts: Sequence[int], color: str) -> Text:
    row, most = Text(), max(counts)
    for count in counts:
        row.append(*((BARS[(len(BARS) - 1) * count // most], color) if count else ("·", "bright_black")))
    return row


def _numbers(line: Sequence[Attempt], jobs: Sequence[uuid.UUID], moments: Sequence[dt.datetime]) -> Text:
    """The place in line of the job that runs; red: this run failed."""
    row = Text()
    for moment in moments[:-1]:
        running = next((run for run in line if run.claimed_at <= moment < run.finished_at), None)
        number = "·" if running is None else str(jobs.index(running.job_id) + 1)
        failed = running is not None and running.outcome == "failed"
        row.append(number, "bold red" if failed else "cyan" if running else "bright_black")
    return row
