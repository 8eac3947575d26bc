"""Statistics as a table that fits: where the line is too short, the less important columns go."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from jobforge_sa.ops import screen, times
from jobforge_sa.ops.stats.figures import Ends, Stats

GAP = 2
TYPE = (16, 40)  # as short as its column may be cut, and no longer than that in a terminal
# from the left to the right; after them in which order they go where the line is too short
HEADINGS = (
    "type",
    "queue",
    "succeeded",
    "failed",
    "lost",
    "dead",
    "canceled",
    "rate",
    "run",
    "p95",
    "max",
    "wait",
    "p95 ",
)
FIRST_TO_GO = ("queue", "max", "p95 ", "canceled", "lost", "rate", "wait", "p95", "run")
STYLES = {"succeeded": "green", "failed": "red", "lost": "magenta", "dead": "bold red", "canceled": "bright_black"}


def parts(stats: Stats, width: int) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    rows = [_cells(one, stats.rate(one)) for one in stats.ends]
    if len(rows) > 1:
        rows.append(_cells(stats.total, stats.rate(stats.total)))
    yield _table(rows, width)
    yield Text.assemble("\n", told(stats))


def told(stats: Stats) -> Text:
    """Of what the numbers are."""
    since = times.span(stats.now - stats.since)
    said = Text(f"the last {since}; RUN and WAIT are medians", "bright_black")
    if stats.back_to is None:
        return said
    cut = stats.back_to > stats.since
    back = times.span(stats.now - stats.back_to)
    said.append(
        f"; of the newest {stats.looked_at:,} jobs, which were enqueued in the last {back}: for more, --limit",
        "yellow not bold" if cut else "",
    )
    return said


def rate(per_second: float) -> str:
    """`12.3/s`, `4.1/min`, `2/h`."""
    for factor, unit in ((1, "s"), (60, "min")):
        if per_second * factor >= 1:
            return f"{per_second * factor:,.1f}/{unit}"
    return f"{per_second * 3600:,.1f}/h" if per_second else ""


def seconds(value: float | None) -> str:
    """A duration, if there is one."""
    return "" if value is None else times.span(dt.timedelta(seconds=value))


def _cells(ends: Ends, per_second: float) -> dict[str, Text]:
    plain = {
        "type": "all" if ends.type is None else screen.one_line(ends.type), "queue": screen.one_line(ends.queue or ""),
        "rate": rate(per_second), "run": seconds(ends.run_p50), "p95": seconds(ends.run_p95),
        "max": seconds(ends.run_max), "wait": seconds(ends.wait_p50), "p95 ": seconds(ends.wait_p95),
    }  # fmt: skip
    cells = {name: Text(text, "bold" if ends.type is None else "") for name, text in plain.items()}
    for name, style in STYLES.items():
        count = getattr(ends, name)
        cells[name] = Text(f"{count:,}" if count else "-", style if count else "bright_black")
    return cells


def _table(rows: list[dict[str, Text]], width: int) -> Table:
    widths = _widths(rows, width)
    made = screen.table()
    for name, size in widths.items():
        left = name in ("type", "queue")
        made.add_column(
            name.strip().upper(), width=size, no_wrap=True, overflow="ellipsis", justify="left" if left else "right"
        )
    for row in rows:
        made.add_row(*(row[name] for name in widths))
    return made


def _widths(rows: list[dict[str, Text]], width: int) -> dict[str, int]:
    """The columns that say something, as many as fit."""
    content = {name: [row[name].plain for row in rows] for name in HEADINGS}
    wanted = {
        name: max(len(name.strip()), *map(len, texts))
        for name, texts in content.items()
        if name in ("type", "succeeded") or any(text not in ("", "-") for text in texts)
    }
    if width < screen.UNBOUNDED:
        wanted["type"] = min(wanted["type"], TYPE[1])
    for name in FIRST_TO_GO:
        if _over(wanted, width) <= wanted["type"] - min(wanted["type"], TYPE[0]):
            break
        wanted.pop(name, None)
    wanted["type"] -= max(0, _over(wanted, width))
    return wanted


def _over(wanted: dict[str, int], width: int) -> int:
    return sum(wanted.values()) + GAP * (len(wanted) - 1) - width
