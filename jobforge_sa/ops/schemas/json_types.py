"""Postgres's types as JSON Schema, as `row_to_json` writes them and as `json_to_recordset` reads them."""

from __future__ import annotations

import json
import re
from typing import Any

from jobforge_sa.db.signatures import Limits

Schema = dict[str, Any]
JSON = ("json", "jsonb")

_PLAIN: dict[str, Schema] = {
    "text": {"type": "string"},
    "uuid": {"type": "string", "format": "uuid"},
    "boolean": {"type": "boolean"},
    "smallint": {"type": "integer"},
    "integer": {"type": "integer"},
    "bigint": {"type": "integer"},  # JavaScript's numbers hold 2^53: its driver gives text
    "double precision": {"type": "number"},
    "numeric": {"type": "number"},
    "timestamp with time zone": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "interval": {"type": "string"},
    "bytea": {"type": "string", "pattern": r"^\\x([0-9a-f]{2})*$"},
}
_SHORT = {"timestamptz": "timestamp with time zone", "int": "integer", "float8": "double precision"}
_LITERAL = re.compile(r"'((?:[^']|'')*)'::(.+)|(-?\d+|true|false)|NULL::.+")


def of_type(kind: str) -> Schema:
    """The schema of a type, and under `x-sql-type` its name, which tells a client what its driver makes of it."""
    if kind.endswith("[]"):
        return {"type": "array", "items": optional(of_type(kind[:-2])), "x-sql-type": kind}
    if kind.startswith("jobforge."):
        return {"$ref": f"#/$defs/{kind.removeprefix('jobforge.')}"}
    kind = _SHORT.get(kind, kind)
    return {**_PLAIN.get(kind, {}), "x-sql-type": kind}  # json is anything, and so is what we do not know


def optional(schema: Schema) -> Schema:
    """The same, or null. What takes anything takes null already."""
    if "type" in schema:
        words = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
        return {**schema, "type": [schema["type"], "null"], **words}
    if "$ref" not in schema:
        return schema
    told = {name: value for name, value in schema.items() if name.startswith("x-")}
    return {"anyOf": [{"$ref": schema["$ref"]}, {"type": "null"}], **told}


def limited(schema: Schema, limits: Limits | None) -> Schema:
    """The same, with what a function refuses; what JSON Schema cannot say is `x-max-bytes` and `x-between`."""
    if limits is None:
        return schema
    low, high = ("minLength", "maxLength") if schema.get("type") == "string" else ("minimum", "maximum")
    posix = "[:" in (limits.pattern or "")  # classes that the regular expressions of JSON Schema do not have
    said = {
        low: limits.least, high: limits.most, "x-sql-pattern" if posix else "pattern": limits.pattern,
        "enum": list(limits.words) or None,
        "x-max-bytes": limits.bytes, "x-between": list(limits.between), "x-or": limits.also,
    }  # fmt: skip
    return {**schema, **{name: value for name, value in said.items() if value not in (None, [])}}


def default_of(expression: str) -> Schema:
    """What an argument without a value gets, as a keyword of its schema; as SQL where no JSON says it."""
    found = _LITERAL.fullmatch(expression)
    if found is None:
        return {"x-sql-default": expression}
    if found[3]:
        return {"default": json.loads(found[3])}
    if found[1] is None:
        return {"default": None}
    text = found[1].replace("''", "'")
    if found[2].endswith("[]"):
        return {"default": []} if text == "{}" else {"x-sql-default": expression}
    return {"default": json.loads(text) if found[2] in JSON else text}
