"""The schemas that `jobforge schemas` writes: committed, valid, and true of what the database takes and answers.

JOBFORGE_UPDATE_SNAPSHOT=1 writes docs/schemas down again.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import psycopg
import pytest
from psycopg.types.json import Json

from jobforge_sa.db import contract
from tests.acceptance.cli import APP, inside, refused
from tests.house.markdown import read
from tests.house.source import ROOT
from tests.support import Sql, item, wait_for

FOLDER = ROOT / "docs" / "schemas"
UPDATE = bool(os.environ.get("JOBFORGE_UPDATE_SNAPSHOT"))
CONTRACT: dict[str, Any] = json.loads(read(FOLDER / "sql-contract.json") or "{}")
ROLE = {"app": "jf_app", "worker": "jf_worker", "admin": "jf_admin"}


def fits(name: str, value: Any) -> bool:
    """Whether a value is what a definition of the contract says."""
    schema = {"$ref": f"#/$defs/{name}", "$defs": CONTRACT["$defs"]}
    formats = jsonschema.FormatChecker(["uuid"])
    return bool(jsonschema.Draft202012Validator(schema, format_checker=formats).is_valid(value))


def ask(sql: Sql, function: str, role: str = "", tenant: str | None = "a", **given: Any) -> list[dict[str, Any]]:
    """Call a function as a client does that knows the schema alone; arguments and rows must be as it says."""
    said = CONTRACT["x-functions"][function]
    arguments = {f"p_{name}": value for name, value in given.items()}
    assert fits(f"{function}.arguments", arguments), (function, arguments)
    types = CONTRACT["$defs"][f"{function}.arguments"]["properties"]
    binds = ", ".join(f"{name} => cast(%({name})s as {types[name]['x-sql-type']})" for name in arguments)
    values = {
        name: json.dumps(value) if "json" in types[name]["x-sql-type"] else value for name, value in arguments.items()
    }
    session = sql.session(ROLE[role or said["callers"][-1]])
    with session.transaction():
        if tenant is not None:
            session.execute("select set_config('jobforge.tenant_id', %s, true)", [tenant])
        answer = session.execute(f"select to_json(r) as row from jobforge.{function}({binds}) r".encode(), values)
        rows = [row["row"] for row in answer.fetchall()]
    if said["answers"] != "nothing":
        one = [row if isinstance(row, dict) else {function: row} for row in rows]
        assert all(fits(f"{function}.row", row) for row in one), (function, one)
        return one
    return []


# --- the files ----------------------------------------------------------------------------------------------


def test_the_committed_schemas_are_those_that_the_command_writes(tmp_path: Path) -> None:
    done = inside(None, "schemas", "--output", str(FOLDER if UPDATE else tmp_path))

    assert f"urn:jobforge:sql-contract:{contract.VERSION}:{contract.HEAD}" in done.stdout
    if not UPDATE:
        made, committed = (
            {str(file.relative_to(folder)): file.read_text() for folder in [one] for file in folder.rglob("*.json")}
            for one in (tmp_path, FOLDER)
        )
        assert committed == made, "JOBFORGE_UPDATE_SNAPSHOT=1 writes them down"


def test_a_live_database_has_the_contract_of_its_release(sql: Sql) -> None:
    url = sql.database.url("jf_app").render_as_string(hide_password=False)
    first, *_ = inside(None, "schemas", "--json", "--url", url).stdout.splitlines()
    assert json.loads(first) == CONTRACT


@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.json")), ids=lambda file: file.stem)
def test_each_is_a_schema_whose_references_lead_somewhere(file: Path) -> None:
    schema = json.loads(file.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for target in references(schema):
        place = schema
        for part in target.removeprefix("#/").split("/"):
            place = place[part]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    for one in value if isinstance(value, list) else []:
        yield from references(one)


def test_errors_and_words_are_those_of_the_functions(shared: Sql) -> None:
    functions = CONTRACT["x-functions"]
    assert {code for one in functions.values() for code in one["raises"]} == set(CONTRACT["x-errors"])
    for column, words in contract.WORDS.items():
        holders = {
            name.removesuffix(".row")
            for name, one in CONTRACT["$defs"].items()
            if {"$ref": f"#/$defs/{column}"}.items() <= one.get("properties", {}).get(column, {}).items()
        }
        assert holders, column
        for name in holders & {"complete_jobs", "heartbeat_jobs"}:
            body = shared.look("select prosrc from pg_proc where proname = %s", name)[0]["prosrc"]
            assert [word for word in words if f"'{word}'" not in body] == []


def test_what_may_be_null_is_said_of_columns_that_are_there() -> None:
    for name, said in contract.MAY_BE_NULL.items():
        row, arguments = (CONTRACT["$defs"].get(key, {}) for key in (f"{name}.row", f"{name}.arguments"))
        known = {*CONTRACT["$defs"].get(name, row).get("properties", {}), *arguments.get("properties", {})}
        assert said <= known, name


# --- what the database takes --------------------------------------------------------------------------------

UUID = str(uuid.UUID(int=7))
# an item's keys, and whether enqueue_jobs takes them: the edge of each limit, from both sides
ITEMS: list[tuple[dict[str, Any], bool]] = [
    *(({"type": word}, ok) for word, ok in [("t" * 100, True), ("t" * 101, False), ("a b", False), (".a", False)]),
    ({}, False),
    ({"payload": {}}, True),
    ({"payload": None}, True),
    ({"payload": []}, False),
    ({"payload": "x"}, False),
    *(({"queue": word}, ok) for word, ok in [("q.1:x-y", True), ("q" * 101, False), ("", False), (None, True)]),
    *(({"priority": n}, ok) for n, ok in [(-100, True), (100, True), (-101, False), (101, False), (1.5, False)]),
    *(({"max_attempts": n}, ok) for n, ok in [(1, True), (1000, True), (0, False), (1001, False), (None, True)]),
    *(({"subject": "s" * n}, ok) for n, ok in [(1, True), (300, True), (0, False), (301, False)]),
    *(({"idempotency_key": "k" * n}, ok) for n, ok in [(1, True), (200, True), (0, False), (201, False)]),
    *(({"unique_key": "k" * n}, ok) for n, ok in [(1, True), (200, True), (0, False), (201, False)]),
    *(({"ordering_key": "k" * n}, ok) for n, ok in [(1, True), (200, True), (0, False), (201, False)]),
    ({"unique_key": "u", "on_duplicate": "replace"}, True),
    ({"unique_key": "u", "on_duplicate": "ask"}, False),
    ({"on_duplicate": "keep"}, False),
    ({"unique_key": "u", "idempotency_key": "i"}, False),
    ({"unique_key": None, "idempotency_key": "i"}, True),
    ({"run_at": "2026-01-01T00:00:00Z", "delay": "1 s"}, False),
    ({"run_at": "2026-01-01T00:00:00Z", "delay": None, "timeout": "90 seconds", "tenant_id": "a", "else": 1}, True),
    ({"retry": {"base": 1, "factor": 2, "max": 2_592_000, "jitter": 0.5}}, True),
    *(({"retry": {"delays": given}}, ok) for given, ok in [([0, 2_592_000], True), ([], False), ([1] * 101, False)]),
    *(({"retry": {key: n}}, False) for key, n in [("base", -1), ("factor", 0.5), ("jitter", 2), ("bsae", 1)]),
    ({"retry": {"max": "1"}}, False),
    ({"retry": []}, False),
    ({"trace": {"traceparent": "00"}}, True),
    ({"trace": []}, False),
    *(({"parent_id": value}, ok) for value, ok in [(UUID, True), ("no", False)]),
]  # fmt: skip


def shown(value: object) -> str:
    return json.dumps(value)[:60] if isinstance(value, dict) else ""


@pytest.mark.parametrize(("item", "ok"), ITEMS, ids=shown)
def test_the_database_takes_the_items_that_fit_and_no_others(sql: Sql, item: dict[str, Any], ok: bool) -> None:
    item = item if not item or "type" in item else {"type": "t", **item}
    try:
        rows = sql("enqueue_jobs", tenant="a", jobs=Json([item]))
    except psycopg.Error:
        rows = []
    assert bool(rows) is ok
    assert fits("job_item", item) is ok


MOST = 999_999_999
RESULTS: list[tuple[dict[str, Any], bool]] = [
    *(({"outcome": word}, True) for word in ("succeeded", "failed", "timed_out", "snoozed", "released", "canceled")),
    *(({"outcome": word}, False) for word in ("lost", "done", None)),
    *(({"outcome": "failed", "delay": n}, True) for n in (0, MOST + 0.5, None)),
    *(({"outcome": "failed", "delay": n}, False) for n in (-1, MOST + 1, "soon")),
    *(({"outcome": "succeeded", "run_ms": n}, True) for n in (0, MOST, None)),
    *(({"outcome": "succeeded", "run_ms": n}, False) for n in (-1, MOST + 1, 1.5)),
    ({"outcome": "failed", "final": True, "error": {"type": "E", "message": "m"}}, True),
    ({"outcome": "failed", "error": "any JSON"}, True),
    ({"outcome": "succeeded", "result": ["any", {"JSON": None}]}, True),
    ({"outcome": "succeeded", "lease_token": "no"}, False),
    ({"outcome": "succeeded", "job_id": None}, False),
]


@pytest.mark.parametrize(("result", "ok"), RESULTS, ids=shown)
def test_the_database_takes_the_results_that_fit_and_no_others(sql: Sql, result: dict[str, Any], ok: bool) -> None:
    sql.enqueue()
    given = item(sql.claim_one()) | result
    assert fits("result_item", given) is ok

    (answer,) = sql("complete_jobs", results=Json([given]))
    assert answer["answer"] == ("done" if ok else "refused")
    assert fits("complete_jobs.row", {**answer, "job_id": answer["job_id"] and str(answer["job_id"])})


# --- what the database answers ------------------------------------------------------------------------------


def test_a_clients_whole_day_is_as_the_schemas_say(sql: Sql) -> None:
    """Enqueue, claim, heartbeat, complete and look, by the schemas alone; `ask` holds arguments and rows to them."""
    me: dict[str, Any] = {"worker_id": str(sql.worker), "queues": ["default"], "types": ["t"]}
    items = [{"type": "t", "payload": {"n": n}, "delay": "1 hour" if n == 4 else None} for n in range(5)]
    ids = [row["id"] for row in ask(sql, "enqueue_jobs", jobs=items)]
    (last,) = ask(sql, "enqueue_job", type="t", payload={"ü": "€"}, retry={"delays": [1]}, trace={"traceparent": "0"},
                  timeout="1 minute", subject="orders:1", parent_id=ids[0], idempotency_key="k")  # fmt: skip
    assert last["created"]

    runs = ask(sql, "claim_jobs", **me, limit=10, cursors=[None], tenant=None)
    assert len(runs) == 5
    assert json.loads(runs[-1]["payload"]) == {"ü": "€"}
    tokens = [run["lease_token"] for run in runs]
    ask(sql, "cancel_job", job_id=ids[0])
    signals = ask(sql, "heartbeat_jobs", worker_id=str(sql.worker), runs=[*tokens, UUID], name="me", tenant=None)
    assert {row["signal"] for row in signals} == {"cancel", "lost"}
    assert ask(sql, "heartbeat_job", job_id=ids[1], lease_token=tokens[1])[0]["held"]

    ends = ["canceled", "succeeded", "failed", "failed"]
    last_end = {"final": True, "error": {"message": "x"}, "run_ms": 3}
    done = [item(run, end, **(last_end if run is runs[3] else {})) for run, end in zip(runs, ends, strict=False)]
    never = {"job_id": UUID, "lease_token": UUID, "outcome": "failed"}
    answers = ask(sql, "complete_jobs", results=[*done, never], tenant=None)
    assert sorted(row["answer"] for row in answers) == ["done"] * 4 + ["lost"]
    states = {row["state"] for row in ask(sql, "list_jobs")}
    assert states == {"canceled", "succeeded", "scheduled", "dead", "running"}
    for job in ids:
        ask(sql, "get_job", job_id=job), ask(sql, "why_job", job_id=job), ask(sql, "impact_of_job", job_id=job)
        ask(sql, "workers_of_job", job_id=job)


def test_what_operators_ask_is_as_the_schemas_say(sql: Sql) -> None:
    jobs = [sql.enqueue(), sql.enqueue(delay="1 hour"), sql.enqueue(type_="other")]
    (run,) = sql.claim()
    end = item(run, "failed", final=True, error={"message": "x"}, delay="1 s")
    ask(sql, "complete_job", role="worker", **end)
    assert ask(sql, "retry_job", job_id=str(jobs[0]))[0]["state"] == "queued"
    assert ask(sql, "reschedule_job", job_id=str(jobs[1]), delay="2 hours")
    assert ask(sql, "replay_job", job_id=str(jobs[2]))[0]["cause"] == "replay"
    for function in ("schema_version", "now", "current_tenant", "job_stats"):
        assert ask(sql, function, role="app")
    for function in ("list_queues", "list_tenants", "list_workers", "list_retention", "audit", "prune", "upkeep"):
        ask(sql, function, role="admin", tenant=None)
    for function in ("pause_tenant", "count_tenant", "export_tenant", "resume_tenant", "act_for"):
        ask(sql, function, role="admin", tenant=None, tenant_id="a")
    assert ask(sql, "limit_tenant", role="admin", tenant=None, tenant_id="a", change={"max_waiting": None})
    assert ask(sql, "has_suspect", queues=["default"], types=["t"]) == [{"has_suspect": False}]
    assert ask(sql, "workers_of", role="admin", tenant=None, queue="default", type="t", worker_id=str(sql.worker))
    assert ask(sql, "enqueue_job_for", role="admin", tenant=None, tenant_id="b", type="t")
    assert ask(sql, "cancel_jobs_of", subject="s") == [{"cancel_jobs_of": 0}]
    assert ask(sql, "await_job", job_id=str(jobs[0]), **{"for": "1 second"})
    assert wait_for(lambda: ask(sql, "rescue_expired_jobs", role="worker", tenant=None))


# --- the command --------------------------------------------------------------------------------------------


def test_an_applications_payloads_are_written_with_their_queue(tmp_path: Path) -> None:
    inside(None, "schemas", "examples.orders.tasks:forge", "--output", str(tmp_path))

    schema = json.loads((tmp_path / "payloads" / "charge_card.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    assert schema["x-type"] == "charge_card"
    assert not validator.is_valid({})
    (again,) = [
        one for line in inside(None, "schemas", "examples.orders.tasks:forge", "--json").stdout.splitlines()
        if (one := json.loads(line)).get("x-type") == "charge_card"
    ]  # fmt: skip
    assert again == schema


def test_what_cannot_be_asked_or_written_is_refused(tmp_path: Path) -> None:
    refused(inside(None, "schemas", APP.replace("forge", "no_forge"), status=2), "not a JobForge")
    (tmp_path / "file").touch()
    refused(inside(None, "schemas", "--output", str(tmp_path / "file"), status=2), "cannot be written", "--output DIR")


def test_a_database_without_the_schema_is_refused(bare_database: Any) -> None:
    url = bare_database.url().render_as_string(hide_password=False)
    refused(inside(None, "schemas", "--url", url, status=2), "jobforge migrate")
