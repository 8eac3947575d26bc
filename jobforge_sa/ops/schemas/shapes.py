"""The JSON arguments of the contract: items of `enqueue_jobs` and `complete_jobs`, retry policies, errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from jobforge_sa.db.signatures import Catalog
from jobforge_sa.errors import SchemaMismatch
from jobforge_sa.ops.schemas.json_types import Schema, limited, of_type, optional
from jobforge_sa.types import JobState

_RECORDSET = re.compile(r"json_to_recordset\(\w+\) as \(([^)]*)\)")
_DEFAULT = re.compile(r"coalesce\(i\.(\w+), ('[^']*'|\d+)\)")
_NUMBER = re.compile(r"'(\w+)' then jobforge\.check_number\(v_value, (\w+), (\w+)\)")
_CONSTANT = re.compile(r"(\w+) +constant (?:integer|text) := '?([^';]+)")
_OUTCOMES = re.compile(r"not in\s+\(([^)]*)\) then 'unknown outcome'")
_FEW = re.compile(r"'delays'\) between (\d+) and (\d+)")
_BYTES = re.compile(r"octet_length\(e\.(\w+)::text\) > (\d+)")

# by the names of arguments, of columns and of items' keys that are JSON: what it has to be
REFERS: dict[str, Schema] = {
    "p_jobs": {"type": "array", "items": {"$ref": "#/$defs/job_item"}},
    "p_results": {"type": "array", "items": {"$ref": "#/$defs/result_item"}},
    "p_payloads": {"type": "array", "items": {"type": "object"}},
    "p_job": {"$ref": "#/$defs/job_item"},
    "p_if_gone": {"$ref": "#/$defs/job_item"},
    "payload": {"type": "object"},
    "trace": {"type": "object"},
    "retry": {"$ref": "#/$defs/retry_policy"},
    "error": {"anyOf": [{"$ref": "#/$defs/error"}, {}]},
    "result": {},
}
# columns whose words are the definition of that name: of functions and views
HOLDS: dict[str, set[str]] = {
    "all_jobs": {"state"},
    "all_attempts": {"outcome"},
    "impact_of_job": {"state", "outcome"},
    "complete_job": {"answer"},
    "complete_jobs": {"answer"},
    "heartbeat_jobs": {"signal"},
    "schema_version": {"tenancy"},
}

_NOT_BOTH = ("run_at", "delay"), ("idempotency_key", "unique_key")


def shapes(catalog: Catalog) -> Schema:
    """The definitions, by name."""
    return {
        "state": {"description": "Where a job stands.", "enum": [*JobState]},
        "outcome": {
            "description": "How a run ended.",
            "enum": list(catalog.words("attempts", "outcome")),
        },
        "retry_policy": _retry_policy(catalog.bodies["check_retry"]),
        "error": {
            "description": "What went wrong, as this package writes it and its tools show it. Other JSON is kept too.",
            "type": "object",
            "properties": {name: {"type": "string"} for name in ("type", "message", "traceback")},
        },
        "job_item": _job_item(catalog),
        "result_item": _result_item(catalog.bodies["parse_results"]),
    }


def _job_item(catalog: Catalog) -> Schema:
    body = catalog.bodies["enqueue_jobs"]
    limits = catalog.limits("enqueue_jobs")
    defaults = dict(_DEFAULT.findall(body))
    found = {}
    for name, kind in _recordset(body):
        one = {**of_type(kind), **REFERS.get(name, {})}
        one = limited(one, limits.get(f"p_{name}"))
        found[name] = one if name == "type" else optional(one) | _default(defaults.get(name), kind)
    return {
        "description": "A job of enqueue_jobs: enqueue_job's arguments without p_. null means the default; unknown "
        "names are ignored.",
        "type": "object",
        "properties": found,
        "required": ["type"],
        "allOf": [*({"not": _given(*names)} for names in _NOT_BOTH)],
        "if": _given("on_duplicate"),
        "then": _given("unique_key"),
    }


def _result_item(body: str) -> Schema:
    bytes_of = {name: int(most) for name, most in _BYTES.findall(body)}
    most = 999_999_999
    of_name: Schema = {
        "job_id": {"type": "string", "format": "uuid"},
        "lease_token": {"type": "string", "format": "uuid"},
        "outcome": {"enum": _words(_OUTCOMES, body)},
        "delay": {"type": ["number", "null"], "minimum": 0, "exclusiveMaximum": most + 1, "x-unit": "seconds"},
        "run_ms": {"type": ["integer", "null"], "minimum": 0, "maximum": most},
        "final": {"type": ["boolean", "null"], "default": False},
    }
    found = {
        name: of_name.get(name, REFERS.get(name, {})) | ({"x-max-bytes": bytes_of[name]} if name in bytes_of else {})
        for name, _ in _recordset(body)
    }
    return {
        "description": "How a run ended. Numbers in plain digits, at most nine on each side of the point: no exponent.",
        "type": "object",
        "properties": found,
        "required": ["job_id", "lease_token", "outcome"],
    }


def _retry_policy(body: str) -> Schema:
    constants = dict(_CONSTANT.findall(body))
    numbers = {
        name: {"type": "number", "minimum": int(low), "maximum": int(constants.get(high, high))}
        for name, low, high in _NUMBER.findall(body)
    }
    few = _found(_FEW, body)
    delays = {"type": "array", "minItems": int(few[1]), "maxItems": int(few[2]), "items": numbers["base"]}
    return {
        "description": "How long to wait after a failed attempt, in seconds.",
        "type": "object",
        "anyOf": [
            {"properties": numbers, "additionalProperties": False},
            {"properties": {"delays": delays}, "required": ["delays"], "additionalProperties": False},
        ],
    }


def _recordset(body: str) -> Iterator[tuple[str, str]]:
    """The names and types that the items of a body are read by."""
    for one in _found(_RECORDSET, body)[1].split(","):
        name, _, kind = one.strip().partition(" ")
        yield name, " ".join(kind.split())


def _words(pattern: re.Pattern[str], text: str) -> list[str]:
    return re.findall(r"'(\w+)'", _found(pattern, text)[1])


def _found(pattern: re.Pattern[str], body: str) -> re.Match[str]:
    match = pattern.search(body)
    if match is None:
        raise SchemaMismatch(
            "a function of the schema is not as its revision made it, and its arguments cannot be read from it",
            cure="jobforge doctor shows what differs; without --url the schemas are those of this release",
        )
    return match


def _default(text: str | None, kind: str) -> Schema:
    if text is None:
        return {}
    return {"default": text.strip("'") if kind == "text" else json.loads(text.strip("'"))}


def _given(*names: str) -> Schema:
    """All of these have a value."""
    return {"required": [*names], "properties": {name: {"not": {"type": "null"}} for name in names}}
