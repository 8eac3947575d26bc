"""The page of `jobforge top`: what fits the terminal, and not a line more."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from jobforge_sa.ops import screen, times
from jobforge_sa.ops.limits.page import running
from jobforge_sa.ops.queue_commands import hands, oldest
from jobforge_sa.ops.stats.page import rate
from jobforge_sa.ops.top.look import COUNTED, SHOWN, Glimpse, rates

WIDE = 120  # columns from which on queues and tenants stand side by side, and jobs have all of theirs
HEAD = 5  # lines above the tables, at most: the blank one among them, and that of paused tasks
GREY = "bright_black"


@dataclass(frozen=True, slots=True)
class Section:
    """A table of which the first rows are shown: a column of numbers is narrow, one of names is cut."""

    columns: Sequence[tuple[str, int]]  # its heading, and its share of the room, cut there; 0: as wide as it is
    rows: Sequence[Sequence[Text]]
    empty: str

    def table(self, rows: int) -> RenderableType:
        """As much of it as fits."""
        if not self.rows:
            return Text(self.empty, GREY)
        made = screen.table()
        made.expand = True
        for number, (name, part) in enumerate(self.columns):
            made.add_column(
                name, no_wrap=True, overflow="ellipsis", ratio=part or None, min_width=8 if part else None,
                justify="left" if part or not number else "right",
            )  # fmt: skip
        for row in self.rows[:rows]:
            made.add_row(*row)
        return made


def page(glimpse: Glimpse, before: Glimpse | None, place: str, notes: Sequence[str], size: tuple[int, int]) -> Group:
    """The page for a terminal of so many columns and lines.

    Args:
        glimpse: What there is to show.
        before: The look before, for the rates.
        place: The database.
        notes: What is to be said of the looks themselves.
        size: Columns and lines.
    """
    width, height = size
    shown: list[RenderableType] = [*_head(glimpse, before, place, notes), ""]
    height -= len(shown)
    sections = [_queues(glimpse), _tenants(glimpse), _running(glimpse, width), _deaths(glimpse, width)]
    bands = [sections[:2], sections[2:3], sections[3:]] if width >= WIDE else [[one] for one in sections]
    del bands[max(1, (height + 1) // 3) :]  # a heading, a row and a blank line are the least
    needs = [max(len(one.rows) for one in band) for band in bands]
    shares = share(needs, height - 2 * len(bands) + 1)
    for band, rows in zip(bands, shares, strict=True):
        shown += [_side_by_side([one.table(rows) for one in band]), ""]
    return Group(*shown[:-1])


def share(needs: Sequence[int], lines: int) -> list[int]:
    """Lines for each, one by one in turns, until nobody needs or nothing is left; each has one."""
    given = [1 for _ in needs]
    left = lines - len(given)
    while left > 0 and (short := [n for n, need in enumerate(needs) if given[n] < need]):
        for n in short[:left]:
            given[n] += 1
        left -= len(short)
    return given


def _head(glimpse: Glimpse, before: Glimpse | None, place: str, notes: Sequence[str]) -> list[Text]:
    lost = sum(one.alive_until <= glimpse.now for one in glimpse.workers)
    lives = len(glimpse.workers) - lost
    clock = glimpse.now.astimezone(dt.UTC).strftime("%H:%M:%S UTC")
    first = Text.assemble(
        ("jobforge top", "bold"), f"  {clock}  {place}", (f"  Postgres {glimpse.version.split()[0]}", GREY)
    )
    second = Text.assemble(("workers ", GREY), (f"{lives:,}", "" if lives else "bold red"))
    second.append(f", {lost:,} lost" if lost else "", "bold red")
    for name in ("queued", "scheduled", "running"):
        second.append(f"   {name} ", GREY).append_text(_sum(glimpse, name))
    third = Text()
    found = rates(before, glimpse)
    for name, value in zip(("enqueued", "started", "ended"), found or (None,) * 3, strict=True):
        third.append(f"{name} ", GREY).append(f"{'-' if value is None else rate(value) or '0'}   ")
    third.append(" ".join(notes), "yellow")
    lines = [first, second, third, *_paused(glimpse.paused_tasks)]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def _paused(tasks: Sequence[str]) -> list[Text]:
    """A line for the tasks that are paused: they have no table in which to say so. None where there is none."""
    if not tasks:
        return []
    said = "1 task is paused: " if len(tasks) == 1 else f"{len(tasks):,} tasks are paused: "
    return [Text(said + ", ".join(map(screen.one_line, tasks)), "magenta")]


def _sum(glimpse: Glimpse, name: str) -> Text:
    counts = [getattr(one, name) + (one.suspects if name == "queued" else 0) for one in glimpse.queues]
    more = name != "running" and any(count >= COUNTED for count in counts)
    return Text(f"{sum(counts):,}{'+' if more else ''}", screen.STATES[name] if any(counts) else "")


def _queues(glimpse: Glimpse) -> Section:
    paused = any(one.paused_at for one in glimpse.queues)
    columns = [
        ("QUEUE", 1),
        ("QUEUED", 0),
        ("OLDEST", 0),
        ("SCHED", 0),
        ("RUNNING", 0),
        ("WORKERS", 0),
        *([("", 0)] if paused else []),
    ]
    rows = []
    for one in sorted(glimpse.queues, key=lambda one: (-(one.queued + one.suspects), -one.running, one.name)):
        queued = one.queued + one.suspects
        rows.append((
            Text(screen.one_line(one.name)), _number(queued, "queued", bounded=True), oldest(one, glimpse.now),
            _number(one.scheduled, "scheduled", bounded=True), running(one.running, one.max_running),
            hands(one), *([Text("paused" if one.paused_at else "", "magenta")] if paused else []),
        ))  # fmt: skip
    return Section(columns, rows, "nothing waits or runs, and no worker lives")


def _tenants(glimpse: Glimpse) -> Section:
    rows = []
    for one in glimpse.tenants:
        queued = _number(one.queued, "queued")
        rows.append((
            Text(screen.one_line(one.tenant_id)), Text("~", GREY).append_text(queued) if one.sampled else queued,
            _number(one.running, "running"), Text("paused" if one.paused_at else "", "magenta"),
        ))  # fmt: skip
    return Section((("TENANT", 1), ("QUEUED", 0), ("RUNNING", 0), ("", 0)), rows, "no tenant waits or runs")


def _running(glimpse: Glimpse, width: int) -> Section:
    rows = [
        (
            Text(str(one.job_id)), Text(screen.one_line(one.type)), Text(screen.one_line(one.tenant_id)),
            Text(times.span(glimpse.now - one.claimed_at), screen.STATES["running"]), Text(screen.one_line(one.worker)),
        )
        for one in glimpse.running
    ]  # fmt: skip
    columns = [("RUNNING", 0), ("TYPE", 3), ("TENANT", 2), ("FOR", 0), ("WORKER", 2)]
    return _narrowed(Section(columns, rows, "nothing runs"), width)


def _deaths(glimpse: Glimpse, width: int) -> Section:
    rows = [
        (
            Text(str(one.job_id)), Text(screen.one_line(one.type)), Text(screen.one_line(one.tenant_id)),
            Text(times.ago(one.finished_at, glimpse.now), "bold red"),
            Text(screen.one_line(f"{one.error or ''}: {one.said or ''}".strip(": ")), "red"),
        )
        for one in glimpse.deaths
    ]  # fmt: skip
    columns = [("DEAD", 0), ("TYPE", 3), ("TENANT", 2), ("WHEN", 0), ("ERROR", 6)]
    return _narrowed(Section(columns, rows, "nobody died of late"), width)


def _narrowed(section: Section, width: int) -> Section:
    """Without its last column where ids leave no room for it."""
    if width >= WIDE:
        return section
    return Section(section.columns[:-1], [row[:-1] for row in section.rows], section.empty)


def _side_by_side(tables: Sequence[RenderableType]) -> RenderableType:
    if len(tables) == 1:
        return tables[0]
    made = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for _ in tables:
        made.add_column(ratio=1)
    made.add_row(*tables)
    return made


def _number(value: int, state: str, *, bounded: bool = False) -> Text:
    if not value:
        return Text("-", GREY)
    return Text(f"{value:,}{'+' if bounded and value >= COUNTED else ''}", screen.STATES[state])


TALLEST = HEAD + 4 * (SHOWN + 2)  # lines: where no terminal cuts the page
