"""The commands `jobforge secrets …`. A secret comes from a file or the standard input, and leaves sealed."""

from __future__ import annotations

import dataclasses
import datetime as dt
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from jobforge_sa.connectors import SecretInfo, TenantSecrets
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, extras, records, screen, times
from jobforge_sa.ops.connectors.commands import Tenant
from jobforge_sa.ops.options import Json, TenantName, Url
from jobforge_sa.ops.reader import administering, moment
from jobforge_sa.secrets import KEYS_VARIABLE, SecretKeys

secrets = typer.Typer(
    help="Look at tenants' secrets, never at their values; set, rotate and drop them. The login is a member of "
    "jobforge_admin.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name by which payloads mean it.")]
NOWHERE = "none"


@secrets.command("list")
def list_secrets(url: Url = None, tenant: TenantName = None, as_json: Json = False) -> None:
    """List secrets: where they may go, and which are being rotated."""
    with administering(database.engine(url)) as session:
        found, now = TenantSecrets(session).list(tenant), moment(session)
    if as_json:
        for one in found:
            typer.echo(records.line(dataclasses.asdict(one)))
        return
    if not found:
        typer.echo("no secrets")
        return
    made = screen.table()
    for name in ("TENANT", "NAME", "KIND", "HOSTS", "SET", "ONE BEFORE"):
        made.add_column(name, overflow="fold")
    for one in found:
        before = f"valid, ends {times.ago(one.previous_until, now)}" if one.previous_until else ""
        cells = (
            screen.named(one.tenant_id),
            one.name,
            one.kind,
            ", ".join(one.hosts),
            times.ago(one.updated_at, now),
            before,
        )
        made.add_row(*(Text(screen.one_line(cell)) for cell in cells))
    screen.show(screen.console(), made)


@secrets.command("set")
def keep(
    tenant: Tenant,
    name: Name,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="Read it from this file, not from the standard input.")] = None,  # noqa: E501
    reference: Annotated[str | None, typer.Option(metavar="TEXT", help="No secret, but where the workers' resolver finds it.")] = None,  # noqa: E501
    hosts: Annotated[list[str] | None, typer.Option("--host", metavar="HOST", help="Where it may go in a header: a name, *.example.com, or none. Again for another.")] = None,  # noqa: E501
    overlap: Annotated[str | None, typer.Option(metavar="TIME", help="So long the one before stays valid: 1h, 2d.")] = None,  # noqa: E501
    url: Url = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Keep a secret, sealed with the first of JOBFORGE_SECRET_KEYS. A line break at its end is no part of it."""
    wanted = _hosts(hosts)
    long = None if overlap is None else times.duration(overlap)
    if reference is not None and file is not None:
        raise ConfigurationError("--file and --reference are two ways", cure="pass one of them")
    with administering(database.engine(url)) as session:
        if reference is not None:
            kept = TenantSecrets(session).refer(tenant, name, reference, hosts=wanted, overlap=long)
        else:
            extras.require("cryptography")
            keys = SecretKeys.from_environment()
            kept = TenantSecrets(session, keys).set(tenant, name, _value(file), hosts=wanted, overlap=long)
    typer.echo(records.line(dataclasses.asdict(kept)) if as_json else _said(kept))


@secrets.command()
def drop(tenant: Tenant, name: Name, url: Url = None, as_json: Json = False) -> None:
    """Forget a secret. Runs that need it fail, and are tried again."""
    with administering(database.engine(url)) as session:
        known = TenantSecrets(session).drop(tenant, name)
    if not known:
        raise ConfigurationError(
            f"{screen.named(tenant)} has no secret {screen.one_line(name)}", cure="look: jobforge secrets list"
        )
    record = {"tenant_id": tenant, "name": name, "dropped": True}
    typer.echo(records.line(record) if as_json else f"{screen.named(tenant)}: the secret {name} is gone")


@secrets.command("new-key")
def new_key(
    key_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Its id.  \\[default: the day]")] = None,
    as_json: Json = False,
) -> None:
    """Make a key that seals secrets, and print it this once, as the variable that workers take. Needs no database."""
    text = SecretKeys.new_key(key_id or f"{dt.datetime.now(dt.UTC):%Y-%m-%d}")
    record = {"key_id": text.partition(":")[0], "variable": KEYS_VARIABLE, "value": text}
    typer.echo(records.line(record) if as_json else f"{KEYS_VARIABLE}={text}")
    screen.note("Keep it as secret as a password, and apart from the database and its dumps: what it seals lies there.")
    screen.note(
        f"Give it to all workers, and to who sets secrets. To rotate: {KEYS_VARIABLE}=NEW,OLD; the first seals."
    )


def _value(file: Path | None) -> str:
    """The secret; asked for without an echo where somebody sits at a terminal."""
    if file is None and sys.stdin.isatty():
        return str(typer.prompt("secret", hide_input=True, err=True))
    try:
        raw = sys.stdin.buffer.read() if file is None else file.read_bytes()
        return raw.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ConfigurationError(
            f"{screen.one_line(file)} cannot be read: {why}", cure="name another --file"
        ) from error
    except UnicodeDecodeError:
        raise ConfigurationError("the secret is no UTF-8", cure="keep bytes as base64, or a reference") from None


def _hosts(given: Sequence[str] | None) -> Sequence[str] | None:
    if not given:
        return None
    return [] if given == [NOWHERE] else given


def _said(one: SecretInfo) -> str:
    where = f"may go to {', '.join(one.hosts)}" if one.hosts else "goes out in no header"
    before = f"; the one before is valid until {times.second(one.previous_until)}" if one.previous_until else ""
    return f"{screen.named(one.tenant_id)}: the secret {one.name} is kept, {one.kind}; it {where}{before}"
