"""The commands `jobforge impact …`: what caused a job, and what it caused."""

from __future__ import annotations

import json
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.impact import Impact, differences, of_record
from jobforge_sa.ops import database, records, screen, whole_file
from jobforge_sa.ops.impact import page as impact_page
from jobforge_sa.ops.jobs.commands import JobId
from jobforge_sa.ops.options import Json, TenantName, Url
from jobforge_sa.ops.reader import reading

impact = typer.Typer(help="Show what caused a job and what it caused; export it; compare two.", no_args_is_help=True)

MOST = 10_000
Limit = Annotated[int, typer.Option("--limit", min=1, max=MOST, metavar="N", help="So many jobs at most, each way.")]
Depth = Annotated[int, typer.Option("--depth", min=0, max=MOST, metavar="N", help="So many steps from job to job.")]
Side = Annotated[str, typer.Argument(metavar="JOB_ID|FILE", help="A job, or a file that impact export wrote.")]


class Format(StrEnum):
    """What an impact map is written as."""

    JSON = "json"
    MERMAID = "mermaid"


@impact.command("show")
def show_impact(
    job_id: JobId, url: Url = None, tenant: TenantName = None, limit: Limit = 200, depth: Depth = 20,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Show, as a tree, what caused a job and what it caused."""
    found = _impact(job_id, url, tenant, limit, depth)
    if as_json:
        typer.echo(records.line(found.record()))
    else:
        screen.show(screen.console(), *impact_page.parts(found, tenant))


@impact.command("export")
def export_impact(
    job_id: JobId,
    url: Url = None,
    tenant: TenantName = None,
    form: Annotated[Format, typer.Option("--format", help="What to write.", case_sensitive=False)] = Format.JSON,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write to this file, not to the standard output.")] = None,  # noqa: E501
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    limit: Limit = MOST,
    depth: Depth = MOST,
) -> None:  # fmt: skip
    """Write it as JSON, which impact compare reads, or as a Mermaid flowchart."""
    place = None if out is None else whole_file.free(out, force=force)
    found = _impact(job_id, url, tenant, limit, depth)
    text = found.mermaid() if form == Format.MERMAID else records.line(found.record()) + "\n"
    if place is None:
        typer.echo(text, nl=False)
        return
    with whole_file.written(place, force=force) as stream:
        stream.write(text.encode())


@impact.command()
def compare(job_a: Side, job_b: Side, url: Url = None, tenant: TenantName = None, as_json: Json = False) -> None:
    """Compare what two jobs caused, without ids and times. Exit 1 if there is a difference."""
    left, right = (_side(side, url, tenant) for side in (job_a, job_b))
    found = list(differences(left, right))
    if as_json:
        told = [{"place": place, "difference": how} for place, how in found]
        typer.echo(records.line({"same": not found, "cut": left.cut or right.cut, "differences": told}))
    elif not found:
        typer.echo("the same" + ("" if not (left.cut or right.cut) else f", as far as {MOST:,} jobs go"))
    for place, how in () if as_json else found:
        screen.show(screen.console(), Text.assemble((screen.one_line(place, 600), "bold"), "  ", screen.one_line(how)))
    raise typer.Exit(1 if found else 0)


def _side(text: str, url: str | None, tenant: str | None) -> Impact:
    try:
        return _impact(uuid.UUID(text), url, tenant, MOST, MOST)
    except ValueError as error:
        if isinstance(error, ConfigurationError):  # which is one, too
            raise
    try:
        return of_record(json.loads(Path(text).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(
            f"{text!r} is neither a job's id nor a file that can be read", cure="pass two of these"
        ) from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise ConfigurationError(
            f"{text} is no impact map: {error}", cure="write one: jobforge impact export JOB_ID --out FILE"
        ) from error


def _impact(job_id: uuid.UUID, url: str | None, tenant: str | None, limit: int, depth: int) -> Impact:
    with reading(database.engine(url), tenant) as reader:
        reader.job(job_id)  # tells nothing found from nothing to be seen
        return reader.jobs.impact(job_id, limit=limit, depth=depth)
