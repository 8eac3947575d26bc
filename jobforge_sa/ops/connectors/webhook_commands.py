"""The commands `jobforge webhooks …`: what was sent, and what is not sent any more."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import select

from jobforge_sa.connectors import Endpoint
from jobforge_sa.db import connector_calls
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.models import Delivery
from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.connectors.commands import Tenant
from jobforge_sa.ops.options import Json, TenantName, Url
from jobforge_sa.ops.reader import Reader, reading, writing

webhooks = typer.Typer(
    help="Look at the webhooks that were sent; disable endpoints, and enable them again.", no_args_is_help=True
)

Address = Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its URL, whole, as the webhooks name it.")]
OUTCOMES = {"delivered": "green", "failed": "red", "gone": "magenta", "blocked": "bold red", "skipped": "bright_black"}
COLUMNS = [column.name for column in Delivery.__table__.columns]
MOST = 10_000


@webhooks.command("list")
def list_webhooks(url: Url = None, tenant: TenantName = None, as_json: Json = False) -> None:
    """List endpoints that fail, or are disabled. Of all others there is nothing to say."""
    with reading(database.engine(url), tenant) as reader:
        found = [Endpoint(*row) for row in reader.rows(connector_calls.LIST_WEBHOOKS, limit=MOST)]
        if not found:
            reader.require_sight()
        now = reader.now
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
        return
    if not found:
        typer.echo("no endpoint fails or is disabled")
        return
    made = screen.table()
    for name in ("TENANT", "ENDPOINT", "FAILURES", "SINCE", "STATE"):
        made.add_column(name, overflow="fold")
    for one in found:
        since = times.ago(one.first_failed_at, now) if one.first_failed_at else ""
        made.add_row(
            screen.named(one.tenant_id), screen.one_line(one.url, 2048), f"{one.failures:,}", since, _state(one)
        )
    screen.show(screen.console(), made)


@webhooks.command()
def deliveries(
    url: Url = None,
    tenant: TenantName = None,
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help="To this endpoint only.")] = None,
    job: Annotated[uuid.UUID | None, typer.Option(metavar="JOB_ID", help="Of this job only.")] = None,
    outcome: Annotated[str | None, typer.Option(metavar="OUTCOME", help=f"Only {', '.join(OUTCOMES)}.", autocompletion=lambda: list(OUTCOMES))] = None,  # noqa: E501
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many to show.")] = 50,
    as_json: Json = False,
) -> None:  # fmt: skip
    """List attempts to deliver, those of the newest jobs first."""
    if outcome is not None and outcome not in OUTCOMES:
        raise ConfigurationError(f"no delivery ends as {outcome!r}", cure=f"write of {', '.join(OUTCOMES)}")
    wanted = {"url": endpoint, "job_id": job, "outcome": outcome}
    with reading(database.engine(url), tenant) as reader:
        found = _fetch(reader, {name: value for name, value in wanted.items() if value is not None}, limit)
    if as_json:
        for one in found:
            typer.echo(records.line({name: getattr(one, name) for name in COLUMNS}))
    elif not found:
        typer.echo("no deliveries")
    else:
        screen.show(screen.console(), _table(found))


@webhooks.command()
def disable(
    tenant: Tenant,
    endpoint: Address,
    reason: Annotated[str | None, typer.Option(metavar="TEXT", help="Why; the tenant can read it.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Send nothing more to an endpoint: its jobs are canceled, and can be retried later."""
    with writing(database.engine(url), tenant) as reader:
        (row,) = reader.rows(connector_calls.DISABLE_WEBHOOK, url=endpoint, reason=reason)
    one = Endpoint(*row)
    place, why = screen.one_line(endpoint, 2048), screen.one_line(one.reason)
    said = f"{screen.named(tenant)}: nothing goes to {place} any more: {why}"
    typer.echo(records.line(dataclasses.asdict(one)) if as_json else said)


@webhooks.command()
def enable(tenant: Tenant, endpoint: Address, url: Url = None, as_json: Json = False) -> None:
    """Let webhooks go to an endpoint again, its failures forgotten."""
    with writing(database.engine(url), tenant) as reader:
        rows = reader.rows(connector_calls.ENABLE_WEBHOOK, url=endpoint)
    if not rows:
        raise ConfigurationError(
            f"nothing is said of {screen.one_line(endpoint, 2048)}: webhooks of {screen.named(tenant)} go there",
            cure="compare the URL: jobforge webhooks list",
        )
    one = Endpoint(*rows[0])
    said = f"{screen.named(tenant)}: webhooks go to {screen.one_line(endpoint, 2048)} again"
    typer.echo(records.line(dataclasses.asdict(one)) if as_json else said)
    if one.disabled_at is not None:
        screen.note("What was not sent meanwhile: jobforge webhooks deliveries --outcome skipped; jobforge jobs retry")


def _fetch(reader: Reader, wanted: dict[str, Any], limit: int) -> Sequence[Delivery]:
    query = select(Delivery).filter_by(**wanted)
    if reader.tenant is not None:  # by its index, also where policies bind nobody
        query = query.where(Delivery.tenant_id == reader.tenant)
    found = reader.mapped(query.order_by(Delivery.job_id.desc(), Delivery.run.desc()).limit(limit))
    if not found:
        reader.require_sight()
    return found


def _state(one: Endpoint) -> Text:
    if one.disabled_at is None:
        return Text("failing", "yellow")
    return Text(f"disabled: {screen.one_line(one.reason)}", "bold red")


def _table(found: Sequence[Delivery]) -> Table:
    made = screen.table()
    for name in ("AT", "TENANT", "EVENT", "ENDPOINT", "OUTCOME", "STATUS", "MS", "JOB", "ATTEMPT"):
        made.add_column(name, overflow="fold")
    for one in found:
        made.add_row(
            Text(times.second(one.at), "bright_black"), screen.named(one.tenant_id), screen.one_line(one.event_type),
            screen.one_line(one.url, 2048), screen.coloured(one.outcome, OUTCOMES), str(one.status or "-"),
            "-" if one.duration_ms is None else str(one.duration_ms), str(one.job_id), str(one.attempt),
        )  # fmt: skip
    return made
