"""The commands `jobforge tenants …`: for administrators."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.orm import Session

from jobforge_sa.limits import Limit
from jobforge_sa.ops import database, progress, records, screen, times
from jobforge_sa.ops.limits import words
from jobforge_sa.ops.limits.commands import say
from jobforge_sa.ops.limits.deciding import deciding
from jobforge_sa.ops.limits.words import Burst, MaxRunning, MaxWaiting, Rate, Weight
from jobforge_sa.ops.options import Json, Url, Yes
from jobforge_sa.ops.reader import administering, moment
from jobforge_sa.ops.tenants import export as tenant_export
from jobforge_sa.ops.tenants import listing as tenant_list
from jobforge_sa.ops.tenants import purge as tenant_purge
from jobforge_sa.tenants import TenantCount, Tenants

tenants = typer.Typer(
    help="Look at tenants; pause, limit, export and purge them. The login is a member of jobforge_admin.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant. After -- one that begins with a dash.")]


@tenants.command("list")
def list_tenants(url: Url = None, as_json: Json = False) -> None:
    """List those who have jobs waiting or running, are paused or limited."""
    with administering(database.engine(url)) as session:
        found, now = Tenants(session).list(), moment(session)
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
    elif not found:
        typer.echo("nobody waits, runs, is paused or limited")
    else:
        console = screen.console()
        screen.show(console, *tenant_list.parts(found, now, console.width, whole=console.is_terminal))


@tenants.command()
def pause(tenant: Name, url: Url = None, as_json: Json = False) -> None:
    """Let claims pass a tenant over: what runs goes on, what is enqueued waits."""
    with deciding(database.engine(url)) as session:
        unknown = _unknown(session, tenant)
        status, now = Tenants(session).pause(tenant), moment(session)
    ago = times.ago(status.paused_at or now, now)
    _say(status, f"paused ({ago}); what runs goes on, what is enqueued waits", unknown=unknown, as_json=as_json)


@tenants.command()
def resume(tenant: Name, url: Url = None, as_json: Json = False) -> None:
    """Let its jobs be claimed again."""
    with deciding(database.engine(url)) as session:
        unknown = _unknown(session, tenant)
        paused = any(one.tenant_id == tenant and one.paused_at for one in Tenants(session).list())
        status = Tenants(session).resume(tenant)
    said = f"{'resumed' if paused else 'was not paused'}; its jobs are claimed"
    _say(status, said, unknown=unknown, as_json=as_json)


@tenants.command()
def limit(
    tenant: Name,
    max_running: MaxRunning = None,
    rate: Rate = None,
    burst: Burst = None,
    weight: Weight = None,
    max_waiting: MaxWaiting = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Limit a tenant, over all queues and workers, or give it a larger share. What is left out stays as it is."""
    wanted: dict[str, Any] = words.change(
        max_running=max_running, rate=rate, burst=burst, weight=weight, max_waiting=max_waiting
    )
    with deciding(database.engine(url)) as session:
        unknown = _unknown(session, tenant)
        found = Tenants(session).limit(tenant, **wanted)
    _say(found, words.said(found), unknown=unknown, as_json=as_json)


@tenants.command()
def count(tenant: Name, url: Url = None, as_json: Json = False) -> None:
    """Count what is kept of a tenant."""
    found = tenant_purge.count(database.engine(url), tenant)
    if as_json:
        typer.echo(records.line(_record(found)))
    elif found.empty:
        typer.echo(f"nothing is kept of the tenant {screen.named(tenant)}")
    else:
        _show(found)


@tenants.command()
def export(
    tenant: Name,
    url: Url = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write to this file, not to the standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write all that is kept of a tenant as JSON lines: the tenant first, then its jobs, oldest first."""
    written = tenant_export.write(database.engine(url), tenant, out, force=force)
    if out is not None:
        screen.note(f"{screen.named(tenant)}: {written:,} jobs written to {screen.one_line(out)}")


@tenants.command()
def purge(
    tenant: Name,
    url: Url = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; delete nothing.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Delete all that is kept of a tenant. It can be stopped at any time, and run again."""
    engine = database.engine(url)
    before = tenant_export.known(tenant_purge.count(engine, tenant))
    if not as_json:
        _show(before)
    if dry_run:
        typer.echo(records.line(_record(before)) if as_json else "\nnothing was deleted: --dry-run")
        return
    if not yes:
        tenant_purge.confirm(tenant)
    work = tenant_purge.Purge(engine, tenant)
    began = time.monotonic()
    console = Console(stderr=True) if as_json else screen.console()
    try:
        with progress.shown(console, "deleted", before.jobs, lines=not as_json) as report:
            behind = work.run(report)
    except KeyboardInterrupt:
        screen.note(_stopped(work, before))
        raise typer.Exit(130) from None
    record = {"tenant_id": tenant, "purged": work.met, "left": behind.jobs}
    typer.echo(records.line(record) if as_json else _told(work, before, time.monotonic() - began))
    if not behind.empty:
        screen.note(_came_in(behind))
        raise typer.Exit(1)


def _unknown(session: Session, tenant: str) -> bool:
    """Whether nothing is kept of it: looked at before, for what is said of a tenant is kept too."""
    return Tenants(session).count(tenant).empty


def _say(found: Limit, said: str, *, unknown: bool, as_json: bool) -> None:
    """What holds for a tenant now; and whether nothing is kept of it, for its name may be misspelt."""
    name = screen.named(found.name)
    say(found, said, as_json=as_json)
    if unknown:
        screen.note(f"note: nothing is kept of {name} so far; compare its name, if you expected jobs")


def _record(found: TenantCount) -> dict[str, object]:
    return {"tenant_id": found.tenant_id, "counts": dict(sorted(found.rows.items()))}


def _show(found: TenantCount) -> None:
    heading = Text(f"{screen.named(found.tenant_id)}\n", "bold")
    screen.show(screen.console(), heading, tenant_list.counted(found))


def _told(work: tenant_purge.Purge, before: TenantCount, seconds: float) -> str:
    name = screen.named(before.tenant_id)
    more = ", and what was enqueued meanwhile," if work.met > before.jobs else ""
    said = f"\n{name} is purged: {before.jobs:,} jobs{more} with all that belonged to them, in {seconds:.1f}s"
    if running := before.rows["leases"]:
        said += f"\n{running:,} were running: they lost their lease, and what their handlers write is rolled back"
    return said


def _stopped(work: tenant_purge.Purge, before: TenantCount) -> str:
    if not work.paused:
        return "interrupted: nothing was deleted"
    return (
        f"interrupted: {work.met:,} of {before.jobs:,} jobs are deleted, {screen.named(before.tenant_id)} stays "
        "paused; run it again, and it goes on"
    )


def _came_in(behind: TenantCount) -> str:
    name = screen.named(behind.tenant_id)
    return (
        f"but {behind.jobs:,} jobs came in behind it, and {name} is no longer paused: stop its enqueues, "
        "and run it again"
    )
