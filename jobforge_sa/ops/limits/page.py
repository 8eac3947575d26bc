"""Limits as a table: who is paused, who runs as many jobs as it may, whose rate is used up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from rich.table import Table
from rich.text import Text

from jobforge_sa.limits import LimitInfo
from jobforge_sa.ops import screen, times
from jobforge_sa.ops.limits import words

GREY = "bright_black"


def table(found: Sequence[LimitInfo], now: dt.datetime) -> Table:
    """One row each. A column that says nothing of anybody is left out; a long name is broken, never cut."""
    columns: list[tuple[str, Callable[[LimitInfo], Text | None]]] = [
        ("RUNNING", lambda one: running(one.running, one.max_running)),
        ("RATE", lambda one: rate(one.rate, one.burst, one.bucket)),
        ("WEIGHT", lambda one: None if one.weight is None else Text(str(one.weight))),
        ("QUOTA", lambda one: None if one.max_waiting is None else Text(f"{one.max_waiting:,}")),
        ("PAUSED", lambda one: Text(times.ago(one.paused_at, now), "magenta") if one.paused_at else None),
    ]
    shown = [(name, cell) for name, cell in columns if name == "RUNNING" or any(cell(one) for one in found)]
    made = screen.table()
    made.add_column("OF", no_wrap=True)
    made.add_column("NAME", overflow="fold")
    for name, _ in shown:
        made.add_column(name, justify="left" if name == "PAUSED" else "right", no_wrap=True)
    for one in found:
        cells = [cell(one) or Text("" if name == "PAUSED" else "-", GREY) for name, cell in shown]
        made.add_row(Text(one.scope, GREY), Text(screen.named(one.name)), *cells)
    return made


def running(count: int, most: int | None) -> Text:
    """How many jobs run, of as many as may; red where it is full."""
    style = screen.STATES["running"] if count else GREY
    if most is None:
        return Text(f"{count:,}" if count else "-", style)
    return Text.assemble((f"{count:,}", "bold red" if count >= most else style), (" of ", GREY), f"{most:,}")


def rate(runs: float | None, burst: int | None, bucket: float | None = None) -> Text | None:
    """The rate; red where no run may begin at this moment."""
    if runs is None:
        return None
    least = "bold red" if bucket is not None and bucket < 1 else ""
    return Text(words.rate(runs), least).append(f" ({burst:,} at once)" if burst is not None else "", GREY)
