"""The commands `jobforge jobs cancel-all|retry-all|reschedule-all`: what fits, in batches, with progress."""

from __future__ import annotations

import datetime as dt
import shlex
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy import Engine, make_url

from jobforge_sa.enqueue.matching import Matching, MoreFilters
from jobforge_sa.errors import ConfigurationError, JobForgeError
from jobforge_sa.ops import database, progress, records, screen, times
from jobforge_sa.ops.jobs.bulk import Bulk, Change
from jobforge_sa.ops.options import Json, TenantName, Url, Yes
from jobforge_sa.ops.reader import reading

State = Annotated[str | None, typer.Option(metavar="STATE", help="In this state only.")]
Type = Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Of this type only.")]
Queue = Annotated[str | None, typer.Option(metavar="QUEUE", help="Of this queue only.")]
Subject = Annotated[str | None, typer.Option(metavar="SUBJECT", help="About this row only, such as orders:42.")]
Since = Annotated[
    str | None,
    typer.Option(metavar="WHEN", help="Enqueued in the last 90s, 15m, 2h, 3d, 1w; or since an ISO time with a zone."),
]
Until = Annotated[str | None, typer.Option(metavar="WHEN", help="Enqueued longer ago than that, or before it.")]
Size = Annotated[int, typer.Option("--batch", min=1, max=10_000, metavar="N", help="So many in a transaction.")]
Cursor = Annotated[uuid.UUID | None, typer.Option(metavar="ID", help="Go on there.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count only; change nothing.")]


@dataclass(frozen=True)
class Asked:
    """What a command was given, as its options: with a cursor it is the command that goes on."""

    command: str
    done: str  # what has become of the jobs
    options: dict[str, str | int | None]
    dry_run: bool
    yes: bool
    as_json: bool

    def on(self, cursor: uuid.UUID | None) -> str:
        """The command that goes on."""
        url = self.options["url"]
        # without the password: what is printed ends in logs and histories
        place = None if url is None else make_url(str(url)).set(password=None).render_as_string()
        given = {**self.options, "url": place, "cursor": cursor and str(cursor)}
        words = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
        return screen.safe(shlex.join(["jobforge", "jobs", self.command, *words]))


def cancel(
    url: Url = None, tenant: TenantName = None, state: State = None, task_type: Type = None, queue: Queue = None,
    subject: Subject = None, since: Since = None, until: Until = None, batch: Size = 1000, cursor: Cursor = None,
    dry_run: DryRun = False, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Cancel all jobs that fit: what waits at once, what runs is told. It can be stopped, and gone on with."""
    options = _options(url, tenant, state, task_type, queue, subject, since, until, batch)
    asked = Asked("cancel-all", "canceled", options, dry_run, yes, as_json)
    _change(asked, lambda matching: matching.cancel, cursor, patient=True)


def retry(
    url: Url = None, tenant: TenantName = None, state: State = None, task_type: Type = None, queue: Queue = None,
    subject: Subject = None, since: Since = None, until: Until = None,
    error: Annotated[str | None, typer.Option(metavar="TEXT", help="Whose last error has this in it, as Type: message.")] = None,  # noqa: E501
    batch: Size = 1000, cursor: Cursor = None, dry_run: DryRun = False, yes: Yes = False, as_json: Json = False,
) -> None:  # fmt: skip
    """Bring all dead or canceled jobs that fit back to their queue. It can be stopped, and gone on with."""
    options = _options(url, tenant, state, task_type, queue, subject, since, until, batch) | {"error": error}
    asked = Asked("retry-all", "brought back", options, dry_run, yes, as_json)
    _change(asked, lambda matching: partial(matching.retry, error=error), cursor)


def reschedule(
    url: Url = None, tenant: TenantName = None,
    at: Annotated[str | None, typer.Option(metavar="WHEN", help="In 90s, 15m, 2h, 3d; or at an ISO time with a zone.  \\[default: now]")] = None,  # noqa: E501
    state: State = None, task_type: Type = None, queue: Queue = None, subject: Subject = None, since: Since = None,
    until: Until = None, batch: Size = 1000, cursor: Cursor = None, dry_run: DryRun = False, yes: Yes = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Move all waiting jobs that fit to another time. It can be stopped, and gone on with."""
    run_at, delay = times.target(at)
    options = _options(url, tenant, state, task_type, queue, subject, since, until, batch) | {"at": at}
    asked = Asked("reschedule-all", "moved", options, dry_run, yes, as_json)
    _change(asked, lambda matching: partial(matching.reschedule, run_at=run_at, delay=delay), cursor)


def _options(
    url: str | None, tenant: str | None, state: str | None, task_type: str | None, queue: str | None,
    subject: str | None, since: str | None, until: str | None, batch: int,
) -> dict[str, str | int | None]:  # fmt: skip
    return {
        "url": url, "tenant": tenant, "state": state, "type": task_type, "queue": queue, "subject": subject,
        "since": since, "until": until, "batch": batch if batch != 1000 else None,
    }  # fmt: skip


def _change(
    asked: Asked, change: Callable[[Matching], Change], cursor: uuid.UUID | None, *, patient: bool = False
) -> None:
    given = asked.options
    engine = database.engine(_text(given["url"]))
    filters, whose = _filters(engine, given)
    work = Bulk(engine, _text(given["tenant"]), filters, change, patient, cursor)
    console = Console(stderr=True) if asked.as_json else screen.console()
    with console.status("counting …"):
        found = work.count()
    if asked.dry_run or not found:
        _told(asked, work, found, whose)
        return
    if not asked.yes:
        _confirm(f"{_jobs(found, whose)} will be {asked.done}. Go on?")
    try:
        with progress.shown(console, asked.done, found, lines=not asked.as_json) as report:
            work.run(int(given["batch"] or 1000), report)
    except KeyboardInterrupt:
        _stopped("interrupted", asked, work, found)
        raise typer.Exit(130) from None
    except JobForgeError:
        _stopped("stopped", asked, work, found)
        raise
    said = f"{_jobs(work.changed, whose)} {'is' if work.changed == 1 else 'are'} {asked.done}{_skipped(work)}"
    typer.echo(records.line(_record(work, found)) if asked.as_json else said)


def _told(asked: Asked, work: Bulk, found: int, whose: str) -> None:
    """How many fit."""
    said = f"{_jobs(found, whose)} {'fits' if found == 1 else 'fit'}"
    typer.echo(records.line(_record(work, found)) if asked.as_json else said)
    if not found and ":" not in (_text(asked.options["subject"]) or ":"):
        screen.note("note: a subject is a table and a key, such as orders:42")


def _stopped(how: str, asked: Asked, work: Bulk, found: int) -> None:
    """What was done until then, and the command that goes on."""
    if asked.as_json:
        typer.echo(records.line(_record(work, found)))
    screen.note(f"{how}: {work.changed:,} of {_jobs(found)} {'is' if found == 1 else 'are'} {asked.done}")
    if work.changed < found:
        screen.note(f"go on: {asked.on(work.cursor)}")


def _skipped(work: Bulk) -> str:
    moved = work.skipped - work.over_quota
    said = [f"{moved:,} were skipped: they moved meanwhile"] if moved else []
    if work.over_quota:
        why = "their tenants have as many waiting jobs as they may (jobforge tenants list)"
        said.append(f"{work.over_quota:,} were skipped: {why}")
    return "".join(f"; {one}" for one in said)


def _jobs(count: int, whose: str = "") -> str:
    return f"{count:,} {'job' if count == 1 else 'jobs'}{whose and f' of {whose}'}"


def _filters(engine: Engine, given: dict[str, str | int | None]) -> tuple[MoreFilters, str]:
    """Which jobs, and whose they are, for people. Times are written down: who goes on later means the same ones."""
    tenant = _text(given["tenant"])
    with reading(engine, tenant) as reader:
        reader.require_sight()
        for name in ("since", "until"):
            if (text := _text(given[name])) is not None:
                given[name] = times.iso(times.moment(text, reader.now))
        everybody = reader.sees_all
    since, until = (None if (text := _text(given[name])) is None else dt.datetime.fromisoformat(text)
                    for name in ("since", "until"))  # fmt: skip
    if since is not None and until is not None and since >= until:
        raise ConfigurationError(
            "no job was enqueued since a time and before it", cure="--since is the earlier one: --since 10m --until 5m"
        )
    filters = MoreFilters(
        state=_text(given["state"]), type=_text(given["type"]), queue=_text(given["queue"]), since=since, until=until
    )
    if given["subject"] is not None:
        filters["subject"] = given["subject"]
    whose = f"the tenant {screen.one_line(tenant)}" if tenant is not None else "this login's tenant"
    return filters, "all tenants" if everybody else whose


def _confirm(question: str) -> None:
    """Have it said.

    Raises:
        ConfigurationError: there is nobody to ask, or the answer is no.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask on, and nothing was changed", cure="pass --yes")
    if not typer.confirm(question):
        raise ConfigurationError("nothing was changed", cure="look first: --dry-run, or jobforge jobs list")


def _record(work: Bulk, found: int) -> dict[str, object]:
    return {
        "found": found,
        "changed": work.changed,
        "skipped": work.skipped,
        "over_quota": work.over_quota,
        "cursor": work.cursor,
    }


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
