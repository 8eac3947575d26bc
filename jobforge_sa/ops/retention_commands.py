"""The commands `jobforge retention …` and `jobforge prune`: for administrators."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.options import Json, Url
from jobforge_sa.ops.reader import administering
from jobforge_sa.retention import Kept, Pruned, Retention

retention = typer.Typer(
    help="Look at how long what has ended is kept, and change it. Workers delete it then, by themselves.",
    invoke_without_command=True,
)

KINDS = ["succeeded", "dead", "canceled", "result", "idempotency_key"]
Kind = Annotated[str, typer.Argument(metavar="KIND", help=f"{', '.join(KINDS)}.", autocompletion=lambda: KINDS)]
EVER = "forever"


@retention.callback()
def show(
    context: typer.Context,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show how long what has ended is kept."""
    context.obj = url
    if context.invoked_subcommand is not None:
        return
    with administering(database.engine(url)) as session:
        found = Retention(session).list()
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
    else:
        screen.show(screen.console(), _table(found))


@retention.command("set")
def change(
    context: typer.Context,
    kind: Kind,
    keep: Annotated[str, typer.Argument(metavar="TIME", help=f"90s, 15m, 2h, 3d, 1w; or {EVER}.")],
    task_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help="Of this type only.")] = None,
    newest: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of jobs: no more than the newest so many of each type.")] = None,  # noqa: E501
    url: Url = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Keep a kind for so long, also what is there already."""
    wanted = None if keep == EVER else times.duration(keep)
    with administering(database.engine(url or context.obj)) as session:
        kept = Retention(session).set(kind, wanted, type=task_type, newest=newest)
    typer.echo(records.line(dataclasses.asdict(kept)) if as_json else _said(kept))


@retention.command("drop")
def forget(
    context: typer.Context,
    kind: Kind,
    task_type: Annotated[str, typer.Option("--type", metavar="TYPE", help="The type that is to differ no more.")],
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Keep a type's as long as everybody's again."""
    with administering(database.engine(url or context.obj)) as session:
        known = Retention(session).drop(kind, task_type)
    if not known:
        raise ConfigurationError(f"nothing is said of {kind} of the type {task_type}", cure="look: jobforge retention")
    if as_json:
        typer.echo(records.line({"kind": kind, "type": task_type, "dropped": True}))
    else:
        typer.echo(f"{kind} of the type {screen.one_line(task_type)}: as every type")


def prune(
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Delete now what was kept for long enough. Workers do it too, within minutes; this shows what they find."""
    console = Console(stderr=True)
    engine = database.engine(url).execution_options(isolation_level="READ COMMITTED")
    done = Pruned(0, 0, 0, more=False)
    with database.translated(engine, "jobforge_admin"), console.status("looking …") as status:
        done = run(engine, lambda so_far: status.update(f"deleted {_counted(so_far)}"))
    if as_json:
        counts = dataclasses.asdict(done)
        typer.echo(records.line({name: counts[name] for name in ("jobs", "results", "idempotency_keys")}))
    else:
        typer.echo(f"deleted {_counted(done)}")


def run(engine: Engine, report: Callable[[Pruned], None]) -> Pruned:
    """Prune batch by batch, each in a transaction of its own, until nothing is left to look at."""
    done = Pruned(0, 0, 0, more=False)
    with Session(engine) as session, session.begin():
        by_number = any(one.newest for one in Retention(session).list())
    for _ in range(2 if by_number else 1):  # what is too many is counted in the first round, and goes in the second
        anew = True
        while anew or done.more:
            with Session(engine) as session, session.begin():
                one = Retention(session).prune(anew=anew)
            anew = False
            done = Pruned(
                done.jobs + one.jobs, done.results + one.results, done.idempotency_keys + one.idempotency_keys, one.more
            )
            report(done)
    return done


def _counted(done: Pruned) -> str:
    return f"{done.jobs:,} jobs, {done.results:,} results of jobs that stay, {done.idempotency_keys:,} idempotency keys"


def _time(keep: dt.timedelta | None, kind: str) -> str:
    if keep is not None:
        return times.span(keep)
    return "as long as its job" if kind == "result" else "for ever"


def _kept(one: Kept) -> str:
    time = _time(one.keep, one.kind)
    return time if one.newest is None else f"{time}, the newest {one.newest:,}"


def _said(one: Kept) -> str:
    of = f" of the type {screen.one_line(one.type)}" if one.type else ""
    return f"{one.kind}{of}: {_kept(one)}"


def _table(found: Sequence[Kept]) -> Table:
    made = screen.table()
    made.add_column("KIND", no_wrap=True)
    made.add_column("TYPE", overflow="fold")
    made.add_column("KEPT", no_wrap=True)
    for one in found:
        of = Text(screen.one_line(one.type)) if one.type else Text("all", "bright_black")
        made.add_row(Text(one.kind, screen.STATES.get(one.kind, "")), of, Text(_kept(one)))
    return made
