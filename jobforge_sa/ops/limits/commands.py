"""The commands `jobforge limits`, and what `jobforge queues` and `jobforge tasks` say of one: for administrators."""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from typing import Annotated, Any

import typer
from sqlalchemy.orm import Session

from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.limits import Limit, Limited, Limits, Tasks
from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.limits import page, words
from jobforge_sa.ops.limits.deciding import deciding
from jobforge_sa.ops.limits.words import Burst, MaxRunning, Rate
from jobforge_sa.ops.options import Json, Url
from jobforge_sa.ops.queue_commands import queues as list_queues
from jobforge_sa.ops.reader import administering, moment
from jobforge_sa.queues import Queues

queues = typer.Typer(
    help="List the queues; pause and limit them. The login is a member of jobforge_admin.", invoke_without_command=True
)
tasks = typer.Typer(
    help="Pause and limit tasks, in all queues. The login is a member of jobforge_admin.", no_args_is_help=True
)

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.")]
Type = Annotated[str, typer.Argument(metavar="TYPE", help="The task's name.")]


NEWEST = 1000  # jobs among which a task is looked for: there may be millions, and no index by type


class Scope(StrEnum):
    """Of whom something is said."""

    tenant = "tenant"
    queue = "queue"
    task = "task"


def limits(
    url: Url = None,
    scope: Annotated[Scope | None, typer.Option("--scope", help="Of these only.")] = None,
    as_json: Json = False,
) -> None:
    """List who is paused or limited, and how much of it is used."""
    with administering(database.engine(url)) as session:
        found, now = Limits(session).list(None if scope is None else scope.value), moment(session)
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
    elif not found:
        typer.echo("nobody is paused or limited")
    else:
        console = screen.console()
        screen.show(console, page.table(found, now, console.width))


@queues.callback()
def show(context: typer.Context, url: Url = None, as_json: Json = False) -> None:
    """List the queues: what waits, what runs, who works on them; pause and limit them."""
    if context.invoked_subcommand is None:
        list_queues(url, as_json=as_json)
    context.obj = url


@queues.command("pause")
def pause_queue(context: typer.Context, queue: Queue, url: Url = None, as_json: Json = False) -> None:
    """Let claims give nothing of a queue: what runs goes on, what is enqueued waits."""
    _pause(Queues, queue, url or context.obj, as_json=as_json)


@queues.command("resume")
def resume_queue(context: typer.Context, queue: Queue, url: Url = None, as_json: Json = False) -> None:
    """Let its jobs be claimed again."""
    _resume(Queues, queue, url or context.obj, as_json=as_json)


@queues.command("limit")
def limit_queue(
    context: typer.Context,
    queue: Queue,
    max_running: MaxRunning = None,
    rate: Rate = None,
    burst: Burst = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Limit a queue, over all tenants and workers. What is left out stays as it is."""
    wanted = words.change(max_running=max_running, rate=rate, burst=burst)
    _limit(Queues, queue, wanted, url or context.obj, as_json=as_json)


@tasks.command("pause")
def pause_task(task: Type, url: Url = None, as_json: Json = False) -> None:
    """Let claims give nothing of a task: what runs goes on, what is enqueued waits."""
    _pause(Tasks, task, url, as_json=as_json)


@tasks.command("resume")
def resume_task(task: Type, url: Url = None, as_json: Json = False) -> None:
    """Let its jobs be claimed again."""
    _resume(Tasks, task, url, as_json=as_json)


@tasks.command("limit")
def limit_task(
    task: Type,
    max_running: MaxRunning = None,
    rate: Rate = None,
    burst: Burst = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Limit a task, over all tenants, queues and workers. What is left out stays as it is."""
    _limit(Tasks, task, words.change(max_running=max_running, rate=rate, burst=burst), url, as_json=as_json)


def _pause(of: type[Limited[Any]], name: str, url: str | None, *, as_json: bool) -> None:
    with deciding(database.engine(url)) as session:
        found, now, known = of(session).pause(name), moment(session), _known(session, of, name)
    ago = times.ago(found.paused_at or now, now)
    say(found, f"paused ({ago}); what runs goes on, what is enqueued waits", as_json=as_json)
    _doubt(found, known=known)


def _resume(of: type[Limited[Any]], name: str, url: str | None, *, as_json: bool) -> None:
    with deciding(database.engine(url)) as session:
        before, found = Limits(session).list(), of(session).resume(name)
    paused = any((one.scope, one.name) == (found.scope, found.name) and one.paused_at for one in before)
    say(found, f"{'resumed' if paused else 'was not paused'}; its jobs are claimed", as_json=as_json)


def _limit(of: type[Limited[Any]], name: str, wanted: dict[str, Any], url: str | None, *, as_json: bool) -> None:
    with deciding(database.engine(url)) as session:
        found, known = of(session).limit(name, **wanted), _known(session, of, name)
    say(found, words.said(found), as_json=as_json)
    _doubt(found, known=known)


def _known(session: Session, of: type[Limited[Any]], name: str) -> bool:
    """Whether a worker has it, or may have; or a job waits or runs in the queue, or one of the newest is of it."""
    said = [worker.types if of is Tasks else worker.queues for worker in Queues(session).workers()]
    if any(one is None or name in one for one in said):
        return True
    if of is Tasks:
        return any(job.type == name for job in Jobs(session).list(limit=NEWEST).jobs)
    mine = (one for one in Queues(session).list(count=1) if one.name == name)
    return any(one.queued or one.suspects or one.scheduled or one.running for one in mine)


def _doubt(found: Limit, *, known: bool) -> None:
    """Its name may be misspelt: what is said of nobody limits nobody."""
    if not known:
        name = f"{found.scope} {screen.named(found.name)}"
        screen.note(f"note: neither a worker nor a job has the {name} so far; compare its name, if you expected jobs")


def say(found: Limit, said: str, *, as_json: bool) -> None:
    """What holds for it now."""
    typer.echo(records.line(dataclasses.asdict(found)) if as_json else f"{screen.named(found.name)}: {said}")
