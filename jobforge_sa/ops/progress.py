"""How far a long command is: a bar on a terminal, lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

PAUSE = 1.0  # seconds between two lines

Report = Callable[[int], None]


class _Rate(ProgressColumn):
    """Jobs in a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f}/s" if speed else "", "bright_black")


@contextmanager
def shown(console: Console, doing: str, total: int, *, lines: bool = False) -> Iterator[Report]:
    """Give what is to be told how many jobs are done.

    Args:
        console: Where to say it.
        doing: What is done to the jobs, such as "deleted".
        total: How many jobs there were at first; more may come.
        lines: Whether to write plain lines where there is no terminal.
    """
    if not console.is_terminal:
        yield _lines(console, doing, total) if lines else _silent
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda done: bar.update(task, completed=done, total=max(total, done))


def _silent(_: int) -> None: ...


def _lines(console: Console, doing: str, total: int) -> Report:
    due = 0.0

    def report(done: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due = time.monotonic() + PAUSE
            console.print(f"{doing} {done:,} of {total:,} jobs")

    return report
