"""What people see of a storm: a line that moves, and two tables at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from tests.chaos.storm import Progress, Result

SHOWN = 20  # offenders of a rule; the rest is counted
LINE = "{task.fields[phase]} {task.fields[left]:>4.0f} s left, {task.fields[done]:,} jobs, {task.fields[faults]}"


class Screen:
    """A bar on a terminal; where it is none, a line every now and then."""

    def __init__(self, console: Console, seconds: float) -> None:
        self._console = console
        self._bar = Bar(BarColumn(20), TextColumn(LINE), console=console, transient=True)
        self._task = self._bar.add_task("", total=seconds, phase="start", left=seconds, done=0, faults="")

    def __enter__(self) -> Screen:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: Progress) -> None:
        kills = progress.counts["kills"]
        restarts = progress.counts["immediate restarts"] + progress.counts["fast restarts"]
        others = progress.counts.total() - kills - restarts
        faults = f"{kills} kills, {restarts} restarts, {others} other faults"
        fields: dict[str, Any] = {"phase": progress.phase, "left": progress.left, "done": progress.done}
        total = self._bar.tasks[0].total or 0
        self._bar.update(
            self._task, completed=total - progress.left if progress.phase == "storm" else total, faults=faults, **fields
        )
        if not self._console.is_terminal:
            self._console.print(
                f"{progress.phase}: {progress.left:.0f} s left, {progress.done:,} jobs, {faults}", highlight=False
            )


def counts(result: Result) -> Iterator[tuple[str, int]]:
    """What happened, in numbers."""
    facts, book = result.scene.facts, result.scene.book
    yield from sorted(result.faults.items())
    yield from ((f"ended: {name}", count) for name, count in sorted(result.ends.items()))
    for fate in ("committed", "rolled back", "unknown"):
        yield f"jobs meant and {fate}", len(book.fates(fate))
    for state in ("succeeded", "dead", "canceled"):
        yield f"jobs {state}", sum(job.state == state for job in facts.jobs)
    for outcome in ("failed", "timed_out", "lost", "snoozed", "released", "canceled"):
        yield f"runs {outcome}", sum(attempt.outcome == outcome for attempt in facts.attempts)
    yield "effects in the session", len(facts.effects)
    yield "effects outside", facts.outside.total()
    yield "  of them duplicates", facts.duplicates
    dead = [job for job in facts.jobs if job.state == "dead" and job.kind not in ("poison", "fail")]
    yield "dead of lost workers, not poison", len(dead)


def tables(result: Result) -> Iterator[Table | str]:
    """The report."""
    numbers = Table(title="What happened", title_justify="left", title_style="bold", show_header=False)
    for name, count in counts(result):
        numbers.add_row(name, f"{count:,}")
    yield numbers
    laws = Table(title="What must be true", title_justify="left", title_style="bold", show_header=False)
    for name, offenders in result.broken.items():
        laws.add_row(name, f"[red]broken {len(offenders)} times" if offenders else "[green]yes")
    yield laws
    for name, offenders in result.broken.items():
        if offenders:
            rest = [f"and {len(offenders) - SHOWN} more"] if len(offenders) > SHOWN else []
            yield "\n  ".join([f"broken: {name}", *offenders[:SHOWN], *rest])
    verdict = "all rules hold" if result.sound else f"RULES ARE BROKEN; ledgers and logs: {result.folder}"
    yield f"seed {result.plan.seed}, {result.took:.0f} s: {verdict}"


def show(console: Console, result: Result) -> None:
    for part in tables(result):
        console.print(part, highlight=False)
