"""A page of jobs as a table that fits: where the line is too short, the less important columns go."""

from __future__ import annotations

import datetime as dt
import shlex
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text
from sqlalchemy import func, make_url, select

from jobforge_sa.models import Attempt
from jobforge_sa.ops import screen, times
from jobforge_sa.ops.reader import Reader
from jobforge_sa.types import JobInfo, JobPage, JobState

GAP = 2
HEADINGS = ("id", "state", "type", "tenant", "queue", "try", "age", "wait", "run", "last error")
IMPORTANCE = ("id", "state", "type", "age", "try", "tenant", "run", "last error", "queue", "wait")
LEAST = {"type": 16, "tenant": 8, "queue": 8, "last error": 20}  # as short as these may be cut
MOST = {"type": 40, "tenant": 24, "queue": 20, "last error": 60}  # no longer than that in a terminal
RIGHT = frozenset({"try", "age", "wait", "run"})


@dataclass(frozen=True, slots=True)
class Filters:
    """Which jobs to list."""

    state: JobState | None = None
    type: str | None = None
    queue: str | None = None
    since: str | None = None
    limit: int = 50
    cursor: uuid.UUID | None = None

    def command(self, cursor: uuid.UUID, *, url: str | None, tenant: str | None) -> str:
        """The command for the page behind `cursor`."""
        # without the password: what is printed ends in logs and histories
        place = None if url is None else make_url(url).set(password=None).render_as_string()
        options = {"url": place, "tenant": tenant, "state": self.state, "type": self.type, "queue": self.queue}
        options |= {"since": self.since, "limit": str(self.limit) if self.limit != 50 else None, "cursor": str(cursor)}
        given = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
        return screen.safe(shlex.join(["jobforge", "jobs", "list", *given]))


@dataclass(frozen=True, slots=True)
class History:
    """What the ended runs of a job say about it."""

    first_claimed_at: dt.datetime
    ran: dt.timedelta  # the last one
    error: str


def fetch(reader: Reader, filters: Filters) -> JobPage:
    """The page that the filters ask for.

    Raises:
        ConfigurationError: `since` is no time. TenantRequired: this login sees nothing without a tenant.
    """
    since = None if filters.since is None else times.moment(filters.since, reader.now)
    page = reader.jobs.list(
        state=filters.state, type=filters.type, queue=filters.queue, since=since, limit=filters.limit,
        cursor=filters.cursor,
    )  # fmt: skip
    if not page.jobs:
        reader.require_sight()
    return page


def histories(reader: Reader, page: JobPage) -> dict[uuid.UUID, History]:
    """The histories of a page's jobs, as far as they have been run: one query, and no traceback comes with it."""
    ended = [job.id for job in page.jobs if job.run > 0]
    ends = (
        select(Attempt.job_id, func.min(Attempt.claimed_at).label("first"), func.max(Attempt.run).label("last"))
        .where(Attempt.job_id.in_(ended))
        .group_by(Attempt.job_id)
        .subquery()
    )
    kind, message = (Attempt.error[key].astext for key in ("type", "message"))
    columns = (Attempt.job_id, Attempt.run_ms, Attempt.claimed_at, Attempt.finished_at, kind, func.left(message, 200))
    query = select(ends.c.first, *columns).join(ends, (Attempt.job_id == ends.c.job_id) & (Attempt.run == ends.c.last))
    found = {}
    for first, job_id, run_ms, claimed, finished, error, text in reader.session.execute(query) if ended else ():
        ran = finished - claimed if run_ms is None else dt.timedelta(milliseconds=run_ms)
        found[job_id] = History(first, ran, f"{error}: {text or ''}".rstrip(": ") if error else "")
    return found


def table(jobs: Sequence[JobInfo], told: Mapping[uuid.UUID, History], now: dt.datetime, width: int) -> Table:
    """The jobs in rows, not wider than `width`."""
    rows = [_cells(job, told.get(job.id), now) for job in jobs]
    widths = fit({name: max(row[name].cell_len for row in rows) for name in HEADINGS}, width)
    made = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for name, size in widths.items():
        side = "right" if name in RIGHT else "left"
        made.add_column(name.upper(), width=size, no_wrap=True, overflow="ellipsis", justify=side)  # type: ignore[arg-type]
    for row in rows:
        made.add_row(*(row[name] for name in widths))
    return made


def fit(natural: Mapping[str, int], width: int) -> dict[str, int]:
    """The columns to show and their widths, in their order.

    Args:
        natural: How wide the content of each is; a column without content is left out.
        width: The whole line.
    """
    bounded = width < screen.UNBOUNDED
    wanted = {
        name: max(min(natural[name], MOST.get(name, natural[name])) if bounded else natural[name], len(name))
        for name in HEADINGS
        if natural[name]
    }
    chosen: dict[str, int] = {}
    left = width + GAP
    for name in IMPORTANCE:
        least = min(wanted.get(name, 0), LEAST.get(name, screen.UNBOUNDED)) + GAP
        if name in wanted and (least <= left or name == "id"):
            chosen[name] = least - GAP
            left -= least
    while left > 0 and (cut := [name for name in chosen if chosen[name] < wanted[name]]):
        for name in cut[:left]:  # what is left is shared by those that were cut
            chosen[name] += 1
            left -= 1
    return {name: chosen[name] for name in HEADINGS if name in chosen}


def _cells(job: JobInfo, history: History | None, now: dt.datetime) -> dict[str, Text]:
    wait, run = wait_and_run(job, history, now)
    plain = {
        "id": str(job.id), "type": job.type, "tenant": job.tenant_id, "queue": job.queue,
        "try": f"{job.attempt}/{job.max_attempts}", "age": times.ago(job.created_at, now), "wait": wait, "run": run,
    }  # fmt: skip
    cells = {name: Text(screen.one_line(text)) for name, text in plain.items()}
    cells["state"] = screen.coloured(job.state, screen.STATES)
    failing = history is not None and job.state != JobState.SUCCEEDED
    cells["last error"] = Text(screen.one_line(history.error) if failing and history else "", "red")
    return cells


def wait_and_run(job: JobInfo, history: History | None, now: dt.datetime) -> tuple[str, str]:
    """How long a job waited, or waits, from being due to its first start; and how long its last run took, or takes."""
    started = history.first_claimed_at if history else job.claimed_at
    if job.state == JobState.SCHEDULED and job.due_at is not None:
        wait = times.ago(job.due_at, now) if job.due_at > now else times.span(now - job.due_at)
    elif started is not None or job.state == JobState.QUEUED:
        wait = times.span((started or now) - job.run_at)
    else:
        wait = ""  # canceled before any run
    if job.state == JobState.RUNNING and job.claimed_at is not None:
        return wait, times.span(now - job.claimed_at)
    return wait, times.span(history.ran) if history else ""
