"""Jobs that are watched: a table that is drawn again on a terminal, a line for each change in a pipe."""

from __future__ import annotations

import uuid

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobforge_sa.ops import screen, times
from jobforge_sa.ops.jobs import listing as job_list
from jobforge_sa.ops.jobs.watch import Seen
from jobforge_sa.types import JobInfo, JobState


def table(seen: Seen, width: int) -> Table:
    """The jobs as `jobforge jobs list` shows them, in the order in which they were named."""
    return job_list.table(list(seen.jobs.values()), seen.told, seen.now, width)


def note(console: Console, text: str) -> None:
    """Say it above the table that is drawn again: from stderr it would run into the last line of that."""
    console.print(screen.safe(text))


def changed(before: JobInfo | None, after: JobInfo) -> bool:
    """Whether it is worth a line."""
    return before is None or (before.state, before.run, before.due_at) != (after.state, after.run, after.due_at)


def line(seen: Seen, before: JobInfo | None, job_id: uuid.UUID) -> Text:
    """What has become of a job."""
    job = seen.jobs[job_id]
    said = Text.assemble((times.second(seen.now), "bright_black"), f"  {job.id}  ")
    if before is not None and before.state != job.state:
        said.append_text(screen.coloured(before.state, screen.STATES)).append(" -> ")
    said.append_text(screen.coloured(job.state, screen.STATES))
    said.append("".join(f", {detail}" for detail in _details(seen, job)))
    said.no_wrap = True
    return said


def _details(seen: Seen, job: JobInfo) -> list[str]:
    found = [f"attempt {job.attempt} of {job.max_attempts}"] if job.state == JobState.RUNNING else []
    if job.state == JobState.SCHEDULED and job.due_at is not None:
        found.append(f"due {times.ago(job.due_at, seen.now)}")
    history = seen.told.get(job.id)
    if history is None or job.state == JobState.RUNNING:
        return found
    if job.state == JobState.SUCCEEDED:
        return [*found, f"in {times.span(history.ran)}"]
    return [*found, screen.one_line(history.error)] if history.error else found
