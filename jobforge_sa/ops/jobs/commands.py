"""The commands `jobforge jobs …`, and `jobforge why`: look at jobs, and say what is to become of them."""

from __future__ import annotations

import dataclasses
import sys
import uuid
from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.errors import JobForgeError
from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.jobs import listing as job_list
from jobforge_sa.ops.jobs import page as job_page
from jobforge_sa.ops.jobs import watch_page, why_page
from jobforge_sa.ops.jobs.watch import Watch
from jobforge_sa.ops.options import Json, TenantName, Url
from jobforge_sa.ops.reader import changing, reading
from jobforge_sa.types import JobInfo, JobState

jobs = typer.Typer(help="Look at jobs; cancel, retry and reschedule them.", no_args_is_help=True)

JobId = Annotated[uuid.UUID, typer.Argument(metavar="JOB_ID", help="The job's id.")]
JobIds = Annotated[list[uuid.UUID], typer.Argument(metavar="JOB_ID...", help="The jobs' ids.")]


@jobs.command("list")
def list_jobs(
    url: Url = None,
    tenant: TenantName = None,
    state: Annotated[JobState | None, typer.Option(metavar="STATE", help=f"In this state only: {', '.join(JobState)}.", case_sensitive=False)] = None,  # noqa: E501
    task_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Of this type only.")] = None,
    queue: Annotated[str | None, typer.Option(metavar="QUEUE", help="Of this queue only.")] = None,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Enqueued in the last 90s, 15m, 2h, 3d, 1w; or since an ISO time with a zone.")] = None,  # noqa: E501
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many to show.")] = 50,
    cursor: Annotated[uuid.UUID | None, typer.Option(metavar="ID", help="Go on behind this job: the last one of a page.")] = None,  # noqa: E501
    as_json: Json = False,
) -> None:  # fmt: skip
    """List jobs, newest first."""
    filters = job_list.Filters(state, task_type, queue, since, limit, cursor)
    with reading(database.engine(url), tenant) as reader:
        page = job_list.fetch(reader, filters)
        told = {} if as_json else job_list.histories(reader, page)
        now = reader.now
    if as_json:
        for job in page.jobs:
            typer.echo(records.line(records.job(job)))
        return
    if not page.jobs:
        typer.echo("no more jobs" if cursor else "no jobs")
        return
    console = screen.console()
    screen.show(console, job_list.table(page.jobs, told, now, console.width))
    if page.cursor is not None:
        typer.echo(f"\nmore: {filters.command(page.cursor, url=url, tenant=tenant)}")


@jobs.command("show")
def show_job(
    job_id: JobId,
    url: Url = None,
    tenant: TenantName = None,
    as_json: Json = False,
) -> None:
    """Show all about one job: what was asked, where it stands, and each attempt."""
    with reading(database.engine(url), tenant) as reader:
        job = reader.job(job_id)
        attempts = reader.attempts(job_id)
        now = reader.now
    if as_json:
        typer.echo(records.line(records.job(job) | {"attempts": [records.attempt(one) for one in attempts]}))
        return
    screen.show(screen.console(), *job_page.parts(job, attempts, now))


@jobs.command()
def cancel(job_ids: JobIds, url: Url = None, tenant: TenantName = None, as_json: Json = False) -> None:
    """Cancel jobs: what waits at once, what runs is told; what has ended stays as it is."""
    _change(url, tenant, job_ids, Jobs.cancel, as_json=as_json)


@jobs.command()
def retry(job_ids: JobIds, url: Url = None, tenant: TenantName = None, as_json: Json = False) -> None:
    """Bring dead or canceled jobs back to their queue, with all their attempts."""
    _change(url, tenant, job_ids, Jobs.retry, as_json=as_json)


@jobs.command()
def reschedule(
    job_ids: JobIds,
    url: Url = None,
    tenant: TenantName = None,
    at: Annotated[str | None, typer.Option(metavar="WHEN", help="In 90s, 15m, 2h, 3d; or at an ISO time with a zone.  \\[default: now]")] = None,  # noqa: E501
    as_json: Json = False,
) -> None:  # fmt: skip
    """Move waiting jobs to another time."""
    run_at, delay = times.target(at)
    how = partial(Jobs.reschedule, run_at=run_at, delay=delay)
    _change(url, tenant, job_ids, how, as_json=as_json)


@jobs.command()
def watch(
    job_ids: JobIds,
    url: Url = None,
    tenant: TenantName = None,
    timeout: Annotated[str | None, typer.Option(metavar="TIME", help="Exit 3 when they have not ended by then: 90s, 15m.")] = None,  # noqa: E501
    as_json: Json = False,
) -> None:  # fmt: skip
    """Follow jobs until they end. Exit 0 when all succeeded, 1 when one is dead or canceled."""
    seconds = None if timeout is None else times.duration(timeout).total_seconds()
    console = screen.console()
    is_live = console.is_terminal and not as_json
    note = partial(watch_page.note, console) if is_live and sys.stderr.isatty() else screen.note
    work = Watch(database.engine(url), tenant, job_ids, seconds, note)
    if is_live:
        with Live(console=console, auto_refresh=False) as live:
            for seen in work.looks():
                live.update(watch_page.table(seen, console.width), refresh=True)
    else:
        _tell_changes(console, work, as_json=as_json)
    if not work.ended:
        screen.note(f"not all have ended within {timeout}; they go on")
        raise typer.Exit(3)
    raise typer.Exit(int(any(state != JobState.SUCCEEDED for state in work.states)))


def why(
    job_id: JobId,
    url: Url = None,
    tenant: TenantName = None,
    as_json: Json = False,
) -> None:
    """Say why a job does not run, or how it came to its end."""
    with reading(database.engine(url), tenant) as reader:
        job = reader.job(job_id)
        reasons = reader.jobs.why(job_id)
    if as_json:
        for reason in reasons:
            typer.echo(records.line(dataclasses.asdict(reason)))
        return
    screen.show(screen.console(), *why_page.parts(job, reasons))


def _change(
    url: str | None, tenant: str | None, job_ids: list[uuid.UUID], how: Callable[[Jobs, uuid.UUID], JobInfo], *,
    as_json: bool,
) -> None:  # fmt: skip
    """Each job in a transaction of its own; what one refuses is said, and the others go on."""
    engine = database.engine(url)
    refused = 0
    for job_id in job_ids:
        try:
            with changing(engine, tenant, job_id) as (jobs, before):
                after = how(jobs, job_id)
        except JobForgeError as error:
            if len(job_ids) == 1:
                raise
            screen.refuse(JobForgeError(f"job {job_id}: {error.message}", cure=error.cure))
            refused += 1
            continue
        typer.echo(records.line(records.job(after)) if as_json else _told(before, after))
    if refused:
        raise typer.Exit(2)


def _tell_changes(console: Console, work: Watch, *, as_json: bool) -> None:
    before: dict[uuid.UUID, JobInfo] = {}
    for seen in work.looks():
        for job_id, job in seen.jobs.items():
            if watch_page.changed(before.get(job_id), job):
                if as_json:
                    typer.echo(records.line(records.job(job)))
                else:
                    screen.show(console, watch_page.line(seen, before.get(job_id), job_id))
        sys.stdout.flush()
        before = dict(seen.jobs)


def _told(before: JobInfo, after: JobInfo) -> str:
    state = f"{before.state} -> {after.state}" if before.state != after.state else f"{after.state}"
    if after.state == JobState.SCHEDULED and after.due_at is not None:
        state += f", due at {times.second(after.due_at)}"
    return f"{after.id}  {state}"
