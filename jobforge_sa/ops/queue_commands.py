"""The commands `jobforge queues` and `jobforge workers`: for administrators."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import TypeVar

import typer
from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.limits.page import running
from jobforge_sa.ops.options import Json, Url
from jobforge_sa.ops.reader import administering, moment
from jobforge_sa.queues import COUNTED, QueueInfo, Queues, WorkerInfo

T = TypeVar("T")

LATE = dt.timedelta(minutes=5)
SHOWN = 4  # names in a cell


def queues(url: str | None, *, as_json: bool) -> None:
    """List the queues: what waits, what runs, who works on them."""
    found, now = _asked(url, Queues.list)
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
    elif not found:
        typer.echo("nothing waits or runs, and no worker lives")
    else:
        console = screen.console()
        screen.show(console, queue_table(found, now, console.width))


def workers(url: Url = None, as_json: Json = False) -> None:
    """List the workers that live, and those of the last hour that were lost."""
    found, now = _asked(url, Queues.workers)
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
    elif not found:
        typer.echo("no worker lives; start one: jobforge worker MODULE:FORGE")
    else:
        screen.show(screen.console(), worker_table(found, now))


def queue_table(found: Sequence[QueueInfo], now: dt.datetime, width: int) -> Table:
    """One row each; what needs a hand is red."""
    headings: list[tuple[str, JustifyMethod]] = [("QUEUE", "left"), ("QUEUED", "right"), ("OLDEST", "right"),
                ("SCHEDULED", "right"), ("NEXT", "right"), ("RUNNING", "right"), ("WORKERS", "right")]  # fmt: skip
    if paused := any(one.paused_at for one in found):
        headings.append(("PAUSED", "left"))
    rows = [
        [
            Text(screen.one_line(one.name)), _number(one.queued + one.suspects, screen.STATES["queued"]),
            oldest(one, now), _number(one.scheduled, screen.STATES["scheduled"]),
            Text(times.ago(one.next_due, now) if one.next_due else ""), running(one.running, one.max_running),
            hands(one),
            *([Text(times.ago(one.paused_at, now) if one.paused_at else "", "magenta")] if paused else []),
        ] for one in found
    ]  # fmt: skip
    return screen.listing(width, headings, rows, ("QUEUE", "NEXT", "SCHEDULED", "OLDEST", "WORKERS"))


def oldest(one: QueueInfo, now: dt.datetime) -> Text:
    """How long the first of the queued jobs has waited; red where that is long."""
    late = one.oldest is not None and now - one.oldest > LATE
    return Text(times.span(now - one.oldest) if one.oldest else "", "bold red" if late else "")


def hands(one: QueueInfo) -> Text:
    """How many work on it; red where jobs wait for nobody."""
    return Text(f"{one.workers:,}", "bold red" if one.queued + one.suspects and not one.workers else "")


def worker_table(found: Sequence[WorkerInfo], now: dt.datetime) -> Table:
    """One row each; who is dead is red."""
    made = _table(
        ("WORKER", False), ("UP", True), ("ALIVE", False), ("RUNNING", True), ("QUEUES", False), ("TASKS", False)
    )
    for one in found:
        lives = one.alive_until > now
        alive = Text("yes", "green") if lives else Text(f"lost {times.ago(one.alive_until, now)}", "bold red")
        made.add_row(
            Text(screen.one_line(one.name or str(one.id))), Text(times.span(now - one.started_at)), alive,
            _number(one.running, screen.STATES["running"]), Text(_names(one.queues)), Text(_names(one.types)),
        )  # fmt: skip
    return made


def _asked(url: str | None, what: Callable[[Queues], Sequence[T]]) -> tuple[Sequence[T], dt.datetime]:
    with administering(database.engine(url)) as session:
        return what(Queues(session)), moment(session)


def _table(*columns: tuple[str, bool]) -> Table:
    made = screen.table()
    for name, number in columns:
        made.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=number)
    return made


def _number(value: int, style: str) -> Text:
    if not value:
        return Text("-", "bright_black")
    return Text(f"{value:,}{'+' if value >= COUNTED else ''}", style)


def _names(names: Sequence[str] | None) -> str:
    if names is None:
        return "not said"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(screen.one_line(name) for name in sorted(names)[:SHOWN]) + more
