"""The commands `jobforge connectors …`: for administrators."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import Annotated, Any

import typer
from rich.text import Text

from jobforge_sa.connectors import ConnectorConfig, ConnectorSettings
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.options import Json, TenantName, Url
from jobforge_sa.ops.reader import administering

connectors = typer.Typer(
    help="Look at what built-in handlers may do for tenants, and narrow it. The login is a member of jobforge_admin.",
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant. After -- one that begins with a dash.")]
Type = Annotated[
    str | None, typer.Option("--type", metavar="TYPE", help="Of this connector, such as connector.http.request.")
]
ALL = "all"


@connectors.command("list")
def list_connectors(url: Url = None, tenant: TenantName = None, as_json: Json = False) -> None:
    """List what was said of tenants' connectors."""
    with administering(database.engine(url)) as session:
        found = ConnectorSettings(session).list(tenant)
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
        return
    if not found:
        typer.echo("nothing is said of any tenant's connectors: they may do what the workers' program allows")
        return
    made = screen.table()
    for name in ("TENANT", "CONNECTOR", "CONFIG", "SINCE"):
        made.add_column(name, overflow="fold")
    for one in found:
        since = Text(times.second(one.updated_at), "bright_black")
        made.add_row(Text(screen.named(one.tenant_id)), Text(one.type or ALL), Text(json.dumps(one.config)), since)
    screen.show(screen.console(), made)


@connectors.command("set")
def change(
    tenant: Tenant,
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="A JSON object; - reads it from the standard input.")],
    task_type: Type = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Say what a connector may do for a tenant, in place of what was said before."""
    wanted = _read(sys.stdin.read() if config == "-" else config)
    with administering(database.engine(url)) as session:
        kept = ConnectorSettings(session).set(tenant, wanted, type=task_type)
    typer.echo(records.line(dataclasses.asdict(kept)) if as_json else _said(kept))


@connectors.command()
def drop(tenant: Tenant, task_type: Type = None, url: Url = None, as_json: Json = False) -> None:
    """Forget what was said of a tenant's connector; without --type, of all its connectors."""
    with administering(database.engine(url)) as session:
        known = ConnectorSettings(session).drop(tenant, type=task_type)
    of = f"the connector {screen.one_line(task_type)}" if task_type else "all connectors"
    if not known:
        raise ConfigurationError(
            f"nothing is said of {of} of {screen.named(tenant)}",
            cure="look: jobforge connectors list; --type names one",
        )
    record = {"tenant_id": tenant, "type": task_type, "dropped": True}
    typer.echo(records.line(record) if as_json else f"{screen.named(tenant)}: nothing is said of {of} any more")


def _read(text: str) -> dict[str, Any]:
    cure = """write it as JSON: '{"allow_hosts": ["api.example.com"], "timeout": 10}'"""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"the configuration is no JSON: {error}", cure=cure) from error
    if not isinstance(found, dict):
        raise ConfigurationError("the configuration is no JSON object", cure=cure)
    return found


def _said(one: ConnectorConfig) -> str:
    return f"{screen.named(one.tenant_id)}: {one.type or 'every connector'}: {json.dumps(one.config)}"
