"""The quick ways of enqueue let pass what check_job lets pass, and store what the slow one stores."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from tests.support import Sql, refused

NAMES = ["t", "T" * 100, "t" * 101, "", ".t", "a b", "a.b:c-d", "ü", "a\n"]
KEYS = ["k", "", "k" * 200, "k" * 201, "k" * 300, "k" * 301, "é" * 200]
# each limit from both sides; payloads as text, for some are no JSON of Python's
EDGES: dict[str, list[Any]] = {
    "type": NAMES,
    "payload": [
        "{}", "[]", "1", '"x"', '{"n": 1e999999}', '{"n": 1e-99999}', '{"n": 1e300}', '{"t": "\\u0000"}',
        '{"t": "\\ud800"}',
        '{"t": "%s"}' % ("x" * (262_144 - 9)), '{"t": "%s"}' % ("x" * (262_144 - 8)), '{"a": [1, {"b": null}]}',
    ],
    "queue": NAMES,
    "priority": [-101, -100, 0, 100, 101],
    "max_attempts": [0, 1, 1000, 1001],
    "idempotency_key": KEYS,
    "unique_key": KEYS,
    "on_duplicate": ["keep"],
    "ordering_key": KEYS,
    "subject": KEYS,
    "run_at": ["1969-12-31T00:00:00Z", "2030-01-01T00:00:00Z", "3000-01-02T00:00:00Z"],
    "delay": ["0 s", "1 hour", "-1 s", "11 years"],
    "timeout": ["1 ms", "0 s", "31 days"],
    "retry": [{"delays": [1]}, {"delays": []}, {"base": -1}],
    "trace": [{"traceparent": "x"}, [], {"x": "y" * 4096}],
}  # fmt: skip
JOBS = [{name: value} for name, values in EDGES.items() for value in values] + [
    {"unique_key": "u", "idempotency_key": "i"}, {"unique_key": "u", "on_duplicate": "ask"},
    {"unique_key": "u", "on_duplicate": "merge"}, {"run_at": "2030-01-01T00:00:00Z", "delay": "1 s"},
]  # fmt: skip


def outcome(sql: Sql, function: str, **arguments: Any) -> str:
    """`stored`, or the SQLSTATE of the refusal."""
    try:
        sql(function, tenant="a", **arguments)
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return "stored"


def checked(sql: Sql, job: dict[str, Any]) -> str:
    """The same by check_job alone."""
    names = ["type", "payload", "queue", "priority", "run_at", "delay", "idempotency_key", "max_attempts", "retry",
             "timeout", "trace", "subject", "unique_key", "on_duplicate", "ordering_key"]  # fmt: skip
    kinds = {"payload": "json", "run_at": "timestamptz", "delay": "interval", "retry": "jsonb", "timeout": "interval",
             "trace": "json", "priority": "integer", "max_attempts": "integer"}  # fmt: skip
    values = [json.dumps(job[n]) if n in ("retry", "trace") and n in job else job.get(n) for n in names]
    marks = ", ".join(f"%s::{kinds.get(name, 'text')}" for name in names)
    try:
        sql.look(f"select jobforge.check_job(null, {marks})", *values)
    except psycopg.Error as error:
        return error.sqlstate or "?"
    return "stored"


def test_what_any_way_lets_pass_check_job_lets_pass_and_what_it_refuses_all_refuse(sql: Sql) -> None:
    for edge in JOBS:
        job = {"type": "t", "payload": "{}"} | edge
        wanted = checked(sql, job)
        options = {name: Json(value) if name in ("retry", "trace") else value for name, value in job.items()}
        beside = {name: value for name, value in job.items() if name != "payload"}
        text = f'{json.dumps(beside)[:-1]}, "payload": {job["payload"]}}}'

        assert outcome(sql, "enqueue_job", **options) == wanted, edge
        assert outcome(sql, "enqueue_jobs", jobs=f"[{text}]") == wanted, edge
        if not {"idempotency_key", "unique_key"} & job.keys():
            said = outcome(sql, "enqueue_payloads", payloads=f"[{job['payload']}]", job=json.dumps(beside))
            assert said == wanted, edge


def test_payloads_of_one_kind_become_the_jobs_that_enqueue_jobs_makes(sql: Sql) -> None:
    common = {
        "type": "t", "queue": "mail", "priority": 7, "max_attempts": 3, "retry": {"delays": [1]}, "timeout": "5 s",
        "trace": {"traceparent": "x"}, "subject": "orders:1", "ordering_key": "o", "parent_id": str(uuid.uuid4()),
    }  # fmt: skip
    payloads = [{"n": n} for n in range(3)]
    for later in ({}, {"delay": "1 hour"}):
        one = sql(
            "enqueue_jobs", tenant="a", jobs=Json([{**common, **later, "payload": payload} for payload in payloads])
        )
        other = sql("enqueue_payloads", tenant="a", payloads=Json(payloads), job=Json(common | later))
        assert [row["position"] for row in other] == [1, 2, 3]
        assert [row["id"] for row in other] == sorted(row["id"] for row in other)
        for left, right in zip(one, other, strict=True):
            jobs = [sql.job(row["id"]) for row in (left, right)]
            alike = [
                {n: v for n, v in job.items() if n not in ("id", "run_at", "due_at", "created_at")} for job in jobs
            ]
            assert alike[0] == alike[1]
    assert len(sql.look("select from jobforge.lines")) == 12  # the auditor compares them with the jobs


def test_what_cannot_be_one_kind_of_jobs_is_refused_as_a_whole(sql: Sql) -> None:
    def enqueue(payloads: object, job: object = None, **options: Any) -> None:
        sql("enqueue_payloads", **{"tenant": "a"} | options, payloads=Json(payloads), job=Json(job or {"type": "t"}))

    for payloads, job, code, word in (
        ([{}, 1, {}], None, "JF004", "position 2"),
        ({}, None, "JF003", "array"),
        ([{}], 1, "JF003", "object"),
        ([{}], {"type": "t", "idempotency_key": "k"}, "JF003", "key"),
        ([{}], {"type": "t", "unique_key": "k"}, "JF003", "key"),
        ([{}], {"queue": "q"}, "JF003", "type"),
        ([{}], {"type": "t", "tenant_id": "b"}, "JF002", "tenant"),
    ):
        with refused(code, word):
            enqueue(payloads, job)
    with refused("JF001"):
        enqueue([{}], tenant=None)
    with refused("JF002"):
        enqueue([{}], tenant_id="b")
    with refused("42501"):
        enqueue([{}], user="jf_worker")
    sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 2})
    enqueue([{}, {}])
    with refused("JF007"):
        enqueue([{}])
    assert len(sql.look("select from jobforge.jobs")) == 2


@pytest.mark.parametrize("notify", [True, False])
def test_payloads_wake_the_workers_of_their_queue_once(sql: Sql, notify: bool) -> None:
    ear = sql.asleep("mail", "default")
    sql(
        "enqueue_payloads", tenant="a", payloads=Json([{}] * 3), job=Json({"type": "t", "queue": "mail"}), notify=notify
    )
    sql("enqueue_payloads", tenant="a", payloads=Json([{}]), job=Json({"type": "t", "delay": "1 h"}))
    sql("enqueue_payloads", tenant="a", payloads=Json([]), job=Json({"type": "t"}))
    heard = [note.payload for note in ear.notifies(timeout=0.05)]
    assert heard == (["mail"] if notify else [])
