"""The command `jobforge schemas`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.ops import application, database, records, screen
from jobforge_sa.ops.options import Json
from jobforge_sa.ops.schemas import document, payloads
from jobforge_sa.ops.schemas.json_types import Schema


def schemas(
    forge: Annotated[str | None, typer.Argument(metavar="[MODULE:FORGE]", help="With the payloads of this application's tasks.")] = None,  # noqa: E501
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Write each to a file of its own in this folder.")] = None,  # noqa: E501
    url: Annotated[str | None, typer.Option("--url", metavar="URL", help="Of this database as it stands; else of this release.", show_default=False)] = None,  # noqa: E501
    as_json: Json = False,
) -> None:  # fmt: skip
    """Write JSON Schemas of the SQL contract and of payloads, for clients in other languages."""
    registries = [payloads.built_in(), *([application.load(forge)] if forge is not None else [])]
    contract = document.released() if url is None else document.of_database(database.engine(url))
    found = [contract, *payloads.of_tasks(*registries)]
    if output is not None:
        write(found, output)
    if as_json:
        for one in found:
            typer.echo(records.line(one))
    else:
        screen.show(screen.console(), listing(found))


def write(found: Sequence[Schema], folder: Path) -> None:
    """Write each to its file below a folder, over what is there.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        for one in found:
            file = folder / document.file_of(one)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text_of(one), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{error.filename} cannot be written: {error.strerror}", cure="choose another folder: --output DIR"
        ) from error


def text_of(schema: Schema) -> str:
    """A schema as its file has it."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def listing(found: Sequence[Schema]) -> Table:
    """One row each."""
    table = screen.table()
    for heading in ("SCHEMA", "ID"):
        table.add_column(heading)
    for one in found:
        table.add_row(screen.one_line(document.file_of(one)), screen.one_line(one["$id"]))
    return table
