"""The commands `jobforge tenancy …`: for whoever may act as jobforge_owner, as migrators do."""

from __future__ import annotations

import dataclasses
import sys
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, records, screen, times
from jobforge_sa.ops.options import Json, Url, Yes
from jobforge_sa.ops.tenants import tenancy as tenancies
from jobforge_sa.ops.tenants.tenancy import Key, Tenancy
from jobforge_sa.tenant import KEY_VARIABLE

tenancy = typer.Typer(help="Look at tenancy and its keys; rotate them; switch.", invoke_without_command=True)

Now = Annotated[bool, typer.Option("--now", help="Even where it fails handlers that are running.")]

MEANS = {
    "plain": "whoever can run SQL as the application can name any tenant",
    "signed": "a tenant counts only with a token that one of these keys has signed",
}


@tenancy.callback()
def show(
    context: typer.Context,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show whether tenants need a token, and the keys that sign them; rotate keys, and switch."""
    context.obj = url
    if context.invoked_subcommand is not None:
        return
    found = tenancies.look(_engine(context, None))
    if as_json:
        keys = None if found.keys is None else [dataclasses.asdict(key) for key in found.keys]
        typer.echo(records.line({"tenancy": found.tenancy, "keys": keys}))
        return
    heading = Text.assemble("tenancy is ", (found.tenancy, "bold green" if found.signed else "bold"), ": ")
    screen.show(screen.console(), heading.append(MEANS[found.tenancy]))
    if found.keys:
        screen.show(screen.console(), "", _table(found))
    elif found.keys is None:
        screen.note("\nits keys are shown to the login that migrates only: --url")
    else:
        typer.echo("\nno keys; to make one: jobforge tenancy add-key")


@tenancy.command("add-key")
def add_key(
    context: typer.Context,
    key_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Its id.  \\[default: the day]")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Make a key, and print it this once, as the variable that applications take. It signs from now on."""
    key, found = tenancies.add_key(_engine(context, url), key_id)
    old = [one.key_id for one in found.keys or () if one.accepted and one.key_id != key.id]
    screen.note(
        f"The key {key.id}, shown this once: the database cannot give it back. Keep it as secret as a password."
    )
    record = {"key_id": key.id, "variable": KEY_VARIABLE, "value": key.text()}
    typer.echo(records.line(record) if as_json else f"{KEY_VARIABLE}={key.text()}")
    screen.note("Give it to all applications: TenantKey.from_environment() reads it. Workers need none.")
    if not found.signed:
        screen.note("When all of them sign: jobforge tenancy signed")
    if old:
        screen.note(
            f"Then retire the old: jobforge tenancy retire-key {old[0]} --at 1h   "
            "(handlers that run until then have a token of it)"
        )


@tenancy.command("retire-key")
def retire_key(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    url: Url = None,
    at: Annotated[str | None, typer.Option(metavar="WHEN", help="In 15m, 2h, 1d; or at an ISO time.  \\[default: now]")] = None,  # noqa: E501
    now: Now = False,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Refuse a key's tokens, now or from a time on. It cannot be taken back."""
    found = tenancies.retire_key(_engine(context, url), key_id, at, force=now)
    key = next(one for one in found.keys or () if one.key_id == key_id)
    assert key.retired_at is not None
    when, ago = times.second(key.retired_at), times.ago(key.retired_at, found.now)
    if as_json:
        typer.echo(records.line(dataclasses.asdict(key)))
    else:
        typer.echo(f"tokens of the key {key_id} are refused from {when} on ({ago})")


@tenancy.command("signed")
def use_signed(context: typer.Context, url: Url = None, now: Now = False, as_json: Json = False) -> None:
    """Let a tenant count only with a token. Whoever sends none reads and writes nothing from then on."""
    tenancies.use(_engine(context, url), "signed", force=now)
    _say("signed", as_json=as_json)


@tenancy.command("plain")
def use_plain(context: typer.Context, url: Url = None, yes: Yes = False, as_json: Json = False) -> None:
    """Take tenants at their word again. It opens what was closed, and so it asks."""
    engine = _engine(context, url)
    with tenancies.owning(engine) as connection:
        signed = tenancies.read(connection).signed
    if signed and not yes:
        _confirm()
    tenancies.use(engine, "plain")
    _say("plain", as_json=as_json)


def _say(found: str, *, as_json: bool) -> None:
    typer.echo(records.line({"tenancy": found}) if as_json else f"tenancy is {found}: {MEANS[found]}")


def _confirm() -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError("there is no terminal to ask on, and tenancy stays signed", cure="pass --yes")
    if not typer.confirm(f"Then {MEANS['plain']}. Switch?"):
        raise ConfigurationError("tenancy stays signed", cure="answer y, or pass --yes")


def _engine(context: typer.Context, url: str | None) -> Engine:
    # no error may show what is bound to a statement: one of these binds is a secret
    return database.engine(url or context.obj)


def _table(found: Tenancy) -> Table:
    made = screen.table()
    for name in ("KEY", "CREATED", "TOKENS"):
        made.add_column(name, overflow="fold")
    for key in found.keys or ():
        created = Text(times.second(key.created_at), "bright_black")
        made.add_row(Text(screen.one_line(key.key_id)), created, _standing(key))
    return made


def _standing(key: Key) -> Text:
    if key.retired_at is None:
        return Text("accepted, signs" if key.signs else "accepted", "green")
    when = times.second(key.retired_at)
    return Text(f"accepted until {when}", "yellow") if key.accepted else Text(f"refused since {when}", "bright_black")
