"""Limits as a table: who is paused, who runs as many jobs as it may, whose rate is used up."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence

from rich.console import JustifyMethod
from rich.table import Table
from rich.text import Text

from jobforge_sa.limits import LimitInfo
from jobforge_sa.ops import screen, times
from jobforge_sa.ops.limits import words

GREY = "bright_black"


def table(found: Sequence[LimitInfo], now: dt.datetime, width: int) -> Table:
    """One row each. A column that says nothing of anybody is left out."""
    columns: list[tuple[str, Callable[[LimitInfo], Text | None]]] = [
        ("RUNNING", lambda one: running(one.running, one.max_running)),
        ("RATE", lambda one: rate(one.rate, one.burst, one.bucket)),
        ("WEIGHT", lambda one: None if one.weight is None else Text(str(one.weight))),
        ("QUOTA", lambda one: None if one.max_waiting is None else Text(f"{one.max_waiting:,}")),
        ("PAUSED", lambda one: Text(times.ago(one.paused_at, now), "magenta") if one.paused_at else None),
    ]
    shown = [(name, cell) for name, cell in columns if name == "RUNNING" or any(cell(one) for one in found)]
    rows = [
        [Text(one.scope, GREY), Text(screen.named(one.name)), *(cell(one) or nothing(name) for name, cell in shown)]
        for one in found
    ]
    headings: list[tuple[str, JustifyMethod]] = [
        ("OF", "left"),
        ("NAME", "left"),
        *(heading(name) for name, _ in shown),
    ]
    return screen.listing(width, headings, rows, ("NAME", "WEIGHT", "QUOTA", "RATE"))


def heading(name: str) -> tuple[str, JustifyMethod]:
    """A column of numbers, or of what is like one."""
    return name, "left" if name == "PAUSED" else "right"


def nothing(name: str) -> Text:
    """What stands where nothing is said."""
    return Text("" if name == "PAUSED" else "-", GREY)


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
