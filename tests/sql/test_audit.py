"""audit: each kind of fault is found. The faults are made by a superuser, in transactions that are rolled back."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.support import Sql, call, refused

FAULTS: dict[str, tuple[str, str]] = {
    "a ready job is lost": ("delete from jobforge.ready", "stands nowhere"),
    "a scheduled job is lost": ("delete from jobforge.scheduled", "stands nowhere"),
    "a lease is lost": ("delete from jobforge.leases", "stands nowhere"),
    "an outcome is lost": ("delete from jobforge.outcomes", "stands nowhere"),
    "ready and scheduled": (
        (
            "insert into jobforge.scheduled (job_id, run_at, queue, tenant_id, priority, type, run, attempt, crashes) "
            "select job_id, now(), queue, tenant_id, priority, type, 0, 0, 0 from jobforge.ready"
        ),
        "several places: ready, scheduled",
    ),
    "twice in ready": (
        (
            "insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes) "
            "select queue, 'b', 5, job_id, type, 0, 0, 0 from jobforge.ready"
        ),
        "several places: ready, ready",
    ),
    "running and ended": (
        (
            "insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at) "
            "select job_id, tenant_id, 'canceled', 0, 0, 0, now() from jobforge.leases"
        ),
        "several places: leases, outcomes",
    ),
    "a result of a job that has not succeeded": (
        "insert into jobforge.results select job_id, tenant_id, '1' from jobforge.ready",
        "has a result without having succeeded",
    ),
    "a ready job that was never asked for": (
        "insert into jobforge.ready values ('default', 'a', 0, gen_random_uuid(), 't', 0, 0, 0)",
        "in ready without a job",
    ),
    "a lease of nothing": (
        (
            "insert into jobforge.leases values (gen_random_uuid(), 'a', 'q', 't', null, false, null, "
            "gen_random_uuid(), gen_random_uuid(), 1, 1, 0, now(), now())"
        ),
        "in leases without a job",
    ),
    "a wide row is lost": ("delete from jobforge.jobs", "without a job"),
    "a lease of another tenant": ("update jobforge.leases set tenant_id = 'b'", "another tenant in leases"),
    "an outcome of another tenant": ("update jobforge.outcomes set tenant_id = 'b'", "another tenant in outcomes"),
    "a ready job with a wrong priority": ("update jobforge.ready set priority = 9", "waits in ready under another"),
    "a ready job with a wrong queue": ("update jobforge.ready set queue = 'x'", "waits in ready under another"),
    "a ready job with a wrong type": ("update jobforge.ready set type = 'x'", "waits in ready under another"),
    "a scheduled job with a wrong priority": (
        "update jobforge.scheduled set priority = 9",
        "waits in scheduled",
    ),
    "a scheduled job with a wrong queue": (
        "update jobforge.scheduled set queue = 'x'",
        "waits in scheduled",
    ),
    "an attempt of another tenant": ("update jobforge.attempts set tenant_id = 'b'", "attempt of another tenant"),
    "an attempt of nothing": ("update jobforge.attempts set job_id = gen_random_uuid()", "none of its own"),
    "an end without its run": ("delete from jobforge.attempts", "without that run on record"),
    "a cancel request of nothing": (
        "insert into jobforge.cancel_requests values (gen_random_uuid(), 'a', now())",
        "cancel request without a job",
    ),
    "aside without a turn": ("update jobforge.ready set aside = '!ordered'", "and nobody looks"),
    "in the lane of another type": ("update jobforge.ready set aside = 'x'", "where no claim looks"),
    "no place in line": ("delete from jobforge.lines", "does not stand in its line"),
    "a place in another line": ("update jobforge.lines set ordering_key = 'x'", "a line that is not its own"),
    "a place in line of what has ended": (
        "insert into jobforge.outcomes select job_id, 'a', 'canceled', 0, 0, 0, now() from jobforge.lines",
        "in line after its end",
    ),
    "a key of another tenant": ("update jobforge.idempotency_keys set tenant_id = 'b'", "idempotency key"),
}


def one_in_each_place(sql: Sql) -> None:
    sql.enqueue(type_="done", idempotency_key="k")
    sql.complete(sql.claim_one(types=["done"]))
    sql.enqueue(type_="held")
    sql.claim_one(types=["held"])
    sql.enqueue(ordering_key="o")
    sql.enqueue(delay=dt.timedelta(hours=1))


@pytest.mark.parametrize(("fault", "said"), FAULTS.values(), ids=FAULTS)
def test_the_auditor_finds_a_fault_that_is_made(sql: Sql, fault: str, said: str) -> None:
    one_in_each_place(sql)
    assert sql("audit") == []
    culprit = sql.connect("postgres")
    assert culprit.execute(fault.encode()).rowcount >= 1
    found = call(culprit, "audit")
    culprit.rollback()

    assert any(said in row["fault"] for row in found), found
    assert sql("audit") == []


def test_the_auditor_is_quiet_while_jobs_move(sql: Sql) -> None:
    sql.fill("a", 200, max_attempts=3)

    def move(outcomes: list[str]) -> None:
        worker = sql.connect("jf_worker")
        worker.autocommit = True
        for n in range(40):
            arguments: dict[str, Any] = {"worker_id": sql.worker, "queues": ["default"], "types": ["t"], "limit": 5}
            for run in call(worker, "claim_jobs", **arguments):
                ask = {"job_id": run["job_id"], "lease_token": run["lease_token"]}
                call(worker, "complete_job", outcome=outcomes[n % len(outcomes)], **ask)

    def audit() -> None:
        for _ in range(20):
            assert sql("audit") == []

    sql.together([audit, lambda: move(["failed", "released"]), lambda: move(["succeeded", "snoozed", "canceled"])])


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_stranger"])
def test_only_an_admin_audits(sql: Sql, user: str) -> None:
    with refused("42501"):
        sql("audit", user=user)
