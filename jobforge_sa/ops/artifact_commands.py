"""The commands `jobforge artifacts …`: what handlers have made, listed and fetched."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
import uuid
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from jobforge_sa.artifacts import ArtifactInfo
from jobforge_sa.artifacts.artifacts import absent, info
from jobforge_sa.db import artifact_calls
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import database, records, screen, times, whole_file
from jobforge_sa.ops.options import Force, Json, Output, TenantName, Url
from jobforge_sa.ops.reader import administering, reading

LARGEST = 104_857_600  # bytes: they are held in memory whole

artifacts = typer.Typer(help="List and fetch what handlers have made, such as reports.", no_args_is_help=True)

JobId = Annotated[uuid.UUID, typer.Argument(metavar="JOB_ID", help="The job that made it.")]
Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="Its name, where the job has made several.")]


@artifacts.command("list")
def list_artifacts(
    url: Url = None,
    tenant: TenantName = None,
    job: Annotated[uuid.UUID | None, typer.Option(metavar="JOB_ID", help="Of this job only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="How many to show.")] = 50,
    cursor: Annotated[str | None, typer.Option(metavar="JOB_ID/NAME", help="Go on behind this one: the last of a page.")] = None,  # noqa: E501
    as_json: Json = False,
) -> None:  # fmt: skip
    """List artifacts, those of the newest jobs first."""
    behind, name = _behind(cursor)
    with reading(database.engine(url), tenant) as reader:
        reader.require_sight()
        asked = {"job_id": job, "limit": limit, "cursor": behind, "cursor_name": name}
        found = [info(row) for row in reader.rows(artifact_calls.LIST_ARTIFACTS, **asked)]
    if as_json:
        for one in found:
            typer.echo(records.line(_record(one)))
    elif not found:
        typer.echo("no more artifacts" if cursor else "no artifacts")
    else:
        screen.show(screen.console(), _table(found))
        if len(found) == limit:
            screen.note(f"more: --cursor {found[-1].job_id}/{found[-1].name}")


@artifacts.command("get")
def get_artifact(
    job_id: JobId, name: Name = None, url: Url = None, tenant: TenantName = None, output: Output = None,
    force: Force = False,
) -> None:  # fmt: skip
    """Write an artifact's bytes to a file, or to the standard output."""
    if output is None and sys.stdout.isatty():  # a tenant's bytes would act on the terminal
        raise ConfigurationError("an artifact is not written to a terminal", cure="--output FILE, or > or |")
    place = None if output is None else whole_file.free(output, force=force)
    with reading(database.engine(url), tenant) as reader:
        reader.require_sight()
        if name is None:
            listed = reader.rows(artifact_calls.LIST_ARTIFACTS, job_id=job_id, limit=1000)
            name = _only([row.name for row in listed], job_id)
        rows = reader.rows(artifact_calls.GET_ARTIFACT, job_id=job_id, name=name)
    if not rows:
        raise absent(job_id, name)
    body = _body(info(rows[0]))
    if place is None:
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
        return
    with whole_file.written(place, force=force) as stream:
        stream.write(body)
    screen.note(f"{screen.one_line(name)}: {len(body):,} bytes written to {screen.one_line(output)}")


@artifacts.command("limit")
def limit_artifacts(
    max_bytes: Annotated[int, typer.Argument(metavar="BYTES", min=0, max=LARGEST, help="0: none is kept.")],
    url: Url = None, as_json: Json = False,
) -> None:  # fmt: skip
    """Let artifacts in the database have at most so many bytes, of all tenants. What is there stays."""
    with administering(database.engine(url)) as session:
        call = artifact_calls.LIMIT_ARTIFACTS
        session.execute(call.statement(None), call.values(None, max_bytes=max_bytes))
    typer.echo(records.line({"max_bytes": max_bytes}) if as_json else f"artifacts: at most {max_bytes:,} bytes")


def _body(found: ArtifactInfo) -> bytes:
    if found.body is None:
        raise ConfigurationError(
            f"the bytes of {found.name} are not in the database, but at {screen.one_line(found.location, 2000)}",
            cure="fetch them there",
        )
    if hashlib.sha256(found.body).hexdigest() != found.sha256:
        raise ConfigurationError(f"the bytes of {found.name} are not those that were stored", cure="make it anew")
    return found.body


def _only(names: Sequence[str], job_id: uuid.UUID) -> str:
    if not names:
        raise absent(job_id, None)
    if len(names) > 1:
        shown = ", ".join(screen.one_line(name) for name in sorted(names))
        raise ConfigurationError(f"job {job_id} has {len(names)} artifacts: {shown}", cure="name one of them")
    return names[0]


def _behind(cursor: str | None) -> tuple[uuid.UUID | None, str | None]:
    if cursor is None:
        return None, None
    job, _, name = cursor.partition("/")
    try:
        return uuid.UUID(job), name
    except ValueError:
        raise ConfigurationError(
            f"{screen.one_line(cursor)!r} is no cursor", cure="pass what stands behind --cursor below a page"
        ) from None


def _record(one: ArtifactInfo) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(one).items() if name != "body"}


def _table(found: Sequence[ArtifactInfo]) -> Table:
    made = screen.table()
    for name, number in (("JOB", False), ("NAME", False), ("TENANT", False), ("BYTES", True), ("MADE", False)):
        made.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=number)
    made.add_column("WHERE", overflow="fold")
    for one in found:
        where = Text("database", "bright_black") if one.location is None else Text(screen.one_line(one.location))
        made.add_row(
            str(one.job_id), one.name, screen.one_line(one.tenant_id), f"{one.size:,}", times.second(one.created_at),
            where,
        )  # fmt: skip
    return made
