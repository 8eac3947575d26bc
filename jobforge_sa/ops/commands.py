"""The commands: their arguments, the one call that each makes, and how its answer is printed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from jobforge_sa.db import host_revision
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, migration, records, screen
from jobforge_sa.ops.artifact_commands import artifacts
from jobforge_sa.ops.connectors.commands import connectors
from jobforge_sa.ops.connectors.secret_commands import secrets
from jobforge_sa.ops.connectors.webhook_commands import webhooks
from jobforge_sa.ops.doctor import page as doctor_page
from jobforge_sa.ops.doctor import report as doctor
from jobforge_sa.ops.impact.commands import impact
from jobforge_sa.ops.jobs.commands import jobs, why
from jobforge_sa.ops.limits.commands import limits, queues, tasks
from jobforge_sa.ops.monitoring.commands import exporter, metrics
from jobforge_sa.ops.options import Json, Url
from jobforge_sa.ops.queue_commands import workers
from jobforge_sa.ops.replay.commands import replay
from jobforge_sa.ops.report_command import report
from jobforge_sa.ops.retention_commands import prune, retention
from jobforge_sa.ops.schemas.command import schemas
from jobforge_sa.ops.smoke.command import smoke
from jobforge_sa.ops.stats.command import stats
from jobforge_sa.ops.tenants.commands import tenants
from jobforge_sa.ops.tenants.tenancy_commands import tenancy
from jobforge_sa.ops.top.command import top
from jobforge_sa.ops.worker_command import worker

EPILOG = """\
[bold]Database:[/bold] --url, else JOBFORGE_DATABASE_URL, else DATABASE_URL: postgresql://user:password@host/database

[bold]Exit status:[/bold] [bold]0[/bold] all is well.

[bold]1[/bold] worker --once: an attempt failed; doctor: something is wrong; smoke: a part failed; jobs watch: one is \
dead or canceled; replay run, impact compare: there is a difference; tenants purge: jobs came in behind it; the reader \
of a pipe went away.

[bold]2[/bold] an argument, the configuration, the database, the job or tenant asked for is not as it should be: see \
stderr.

[bold]3[/bold] worker: handlers outlived the grace, and their jobs went back to the queue; smoke: a part was skipped; \
jobs watch: the time was up.

[bold]130[/bold] interrupted."""

app = typer.Typer(
    name="jobforge",
    help="Background jobs that commit with your data.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(jobs, name="jobs")

app.add_typer(queues, name="queues")
app.add_typer(tasks, name="tasks")
app.add_typer(tenants, name="tenants")
app.add_typer(tenancy, name="tenancy")
app.add_typer(retention, name="retention")
app.add_typer(connectors, name="connectors")
app.add_typer(secrets, name="secrets")
app.add_typer(webhooks, name="webhooks")
app.add_typer(replay, name="replay")
app.add_typer(impact, name="impact")
app.add_typer(artifacts, name="artifacts")
app.command()(prune)
app.command()(why)
app.command("limits")(limits)
app.command("workers")(workers)
app.command()(stats)
app.command()(report)
app.command()(top)
app.command()(schemas)
app.command()(smoke)
app.command()(worker)
app.command()(exporter)
app.command()(metrics)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"jobforge_sa {version('jobforge_sa')}")
        raise typer.Exit


@app.callback()
def jobforge(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Background jobs that commit with your data."""


@app.command()
def migrate(
    url: Url = None,
    to: Annotated[str, typer.Option("--to", metavar="REVISION", help="Up to this revision.")] = "head",
    down: Annotated[str | None, typer.Option("--down", metavar="REVISION", help="Down to this one, or `base`.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Print the SQL for an empty database; touch nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the schema up to date. Changes nothing where it is already."""
    if down is not None and (sql or to != "head"):
        raise ConfigurationError(
            "--down goes alone", cure="for the SQL of a downgrade: alembic downgrade FROM:TO --sql"
        )
    if sql:
        typer.echo(migration.script(to), nl=False)
        return
    moved = migration.move(database.engine(url), to if down is None else down, down=down is not None)
    typer.echo(records.line(moved.record()) if as_json else str(moved))


@app.command()
def revision(
    config: Annotated[Path, typer.Option("--config", "-c", help="The application's Alembic project.")] = Path(
        "alembic.ini"
    ),
    message: Annotated[str | None, typer.Option("--message", "-m", help="What the revision is called.")] = None,
    head: Annotated[str, typer.Option(help="Come behind this revision, where there are several heads.")] = "head",
    as_json: Json = False,
) -> None:
    """Write a revision of your own Alembic history that brings our schema up to date. Needs no database."""
    written = host_revision.write(config, message=message, head=head)
    if as_json:
        typer.echo(records.line(dataclasses.asdict(written)))
    elif written.path is None:
        typer.echo(f"the history has the schema jobforge at {written.after} (head) already")
    else:
        typer.echo(f"{screen.one_line(written.path)}: schema jobforge {written.before} -> {written.after}")
        typer.echo("run: alembic upgrade head")


@app.command("doctor")
def examine(
    url: Url = None,
    as_json: Json = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 on a warning too.")] = False,
) -> None:
    """Look for what is wrong, or weaker than it should be; changes nothing. Exit 1 on an error."""
    report = doctor.examine(database.engine(url))
    if as_json:
        for finding in report.findings:
            typer.echo(records.line(records.finding(finding)))
    else:
        screen.show(screen.console(), *doctor_page.parts(report))
    raise typer.Exit(report.status(strict=strict))
