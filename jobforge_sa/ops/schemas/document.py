"""The SQL contract as one JSON Schema: the arguments and rows of each function, and what else clients know."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from jobforge_sa.db import calls, contract, introspect, signatures
from jobforge_sa.db.signatures import Argument, Catalog, Column, Function
from jobforge_sa.errors import BY_SQLSTATE
from jobforge_sa.ops import database
from jobforge_sa.ops.doctor.drift import MADE
from jobforge_sa.ops.schemas.json_types import JSON, Schema, default_of, limited, of_type, optional
from jobforge_sa.ops.schemas.shapes import HOLDS, REFERS, shapes

DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAME = "sql-contract"


def released() -> Schema:
    """The contract of the revision that this release brings; asks no database."""
    text = (MADE / f"{contract.HEAD}.sql").read_text(encoding="utf-8")
    return document(signatures.read(introspect.parse(text)), contract.HEAD)


def of_database(target: Engine) -> Schema:
    """The contract of a database as it stands.

    Raises:
        ServerUnavailable: there is no database. SchemaMismatch: there is no schema jobforge in it.
    """
    with database.translated(target, "jobforge_app"), target.connect() as connection:
        revision = str(connection.execute(calls.SCHEMA_VERSION).mappings().one()["revision"])
        return document(signatures.read(introspect.describe(connection)), revision)


def document(catalog: Catalog, revision: str) -> Schema:
    """The whole of it. JSON Schema has no word for functions: those begin with `x-`, and validators pass them over."""
    functions = catalog.functions.values()
    named = {name: {"enum": list(words)} for name, words in contract.WORDS.items()}
    rows = {name: _row(name, catalog.relation(name)) for name in sorted(_relations(functions))}
    each = {name: schema for one in functions for name, schema in _of_function(catalog, one).items()}
    return {
        "$schema": DIALECT,
        "$id": f"urn:jobforge:{NAME}:{contract.VERSION}:{revision}",
        "title": "The SQL contract of jobforge",
        "description": "Arguments by name, rows as row_to_json writes them. Made from the catalog: jobforge schemas.",
        "x-contract": contract.VERSION,
        "x-revision": revision,
        "x-channel": contract.CHANNEL,
        "x-functions": {one.name: _about(one) for one in functions},
        "x-errors": {code: _refusal(code) for code in sorted(contract.REFUSALS)},
        "$defs": shapes(catalog) | named | rows | each,
    }


def _relations(functions: Collection[Function]) -> set[str]:
    """The tables and views whose rows are answers or arguments."""
    types = {argument.type for one in functions for argument in one.arguments if "." in argument.type}
    answers = {one.relation for one in functions if one.relation is not None}
    return answers | {kind.removeprefix("jobforge.") for kind in types}


def _about(function: Function) -> Schema:
    """What of a function is no schema."""
    rows = {"$ref": f"#/$defs/{function.name}.row"} if function.columns else None
    return {
        "description": function.comment,
        "callers": list(function.callers),
        "arguments": [one.name for one in function.arguments],  # in their order
        "answers": "nothing" if rows is None else "rows" if function.many else "one row",
        "raises": list(function.codes),  # at most: by itself or by what it calls
    }


def _of_function(catalog: Catalog, function: Function) -> Schema:
    null = contract.MAY_BE_NULL.get(function.name, frozenset())
    limits = catalog.limits(function.name)
    found: Schema = {
        f"{function.name}.arguments": {
            "type": "object",
            "properties": {
                one.name: _argument(one, limited(_shaped(function, one), limits.get(one.name)), one.name in null)
                for one in function.arguments
            },
            "required": [one.name for one in function.arguments if one.default is None],
            "additionalProperties": False,
        }
    }
    if function.columns:
        same = function.relation and {"$ref": f"#/$defs/{function.relation}"}
        found[f"{function.name}.row"] = same or _row(function.name, function.columns)
    return found


def _shaped(function: Function, argument: Argument) -> Schema:
    schema = of_type(argument.type)
    if (function.name, argument.name) == ("complete_job", "p_outcome"):
        return {"x-sql-type": argument.type, "$ref": "#/$defs/result_item/properties/outcome"}
    if argument.type in JSON:
        schema |= REFERS.get(argument.name, REFERS.get(argument.name.removeprefix("p_"), {}))
    return schema


def _argument(argument: Argument, schema: Schema, null: bool) -> Schema:
    """NULL means the default where that is NULL; of other defaults it is safer to leave the argument out."""
    if argument.default is None:
        return optional(schema) if null else schema
    default = default_of(argument.default)
    if "pattern" in schema and default.get("default") == "":  # stands for every one, and is judged apart
        del schema["pattern"]
    return (optional(schema) if default == {"default": None} else schema) | default


def _row(name: str, columns: tuple[Column, ...]) -> Schema:
    null = contract.MAY_BE_NULL.get(name)
    return {
        "type": "object",
        "properties": {one.name: _column(name, one, one.null if null is None else one.name in null) for one in columns},
        "required": [one.name for one in columns],
    }


def _column(of: str, column: Column, null: bool) -> Schema:
    schema = of_type(column.type)
    if column.name in HOLDS.get(of, ()):
        schema = {"$ref": f"#/$defs/{column.name}", "x-sql-type": column.type}
    if column.name in ("payload", "record", "trace") and column.type == "text":
        schema = {**schema, "contentMediaType": "application/json"}
    if column.name in REFERS and column.type in JSON:
        schema = {**schema, **REFERS[column.name]}
    return optional(schema) if null else schema


def _refusal(code: str) -> dict[str, Any]:
    said = contract.REFUSALS[code]
    return {"cause": said.cause, "cure": said.cure, "python": BY_SQLSTATE[code].__name__}


def file_of(schema: Schema) -> Path:
    """Where a schema stands below the folder that all are written to."""
    kind, _, name = schema["$id"].removeprefix("urn:jobforge:").partition(":")
    if kind == NAME:
        return Path(f"{NAME}.json")
    return Path("payloads") / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name.rpartition(':')[0])}.json"
