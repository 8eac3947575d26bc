"""The plans of the hot path, whatever the planner last saw: pages read, and never more than the work is worth."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from tests.fix_postgres import Database
from tests.support import Sql, call, wait_for

TENANTS, EACH, BATCH = 500, 10, 50


def fill(connection: sa.Connection, tenants: int, each: int) -> None:
    document = json.dumps([{"type": "t", "payload": {"n": n}} for n in range(each)])
    for tenant in range(tenants):
        connection.execute(sa.text("select set_config('jobforge.tenant_id', :t, true)"), {"t": f"t{tenant:04}"})
        connection.execute(sa.text("select count(*) from jobforge.enqueue_jobs(cast(:d as json))"), {"d": document})


def pages(connection: sa.Connection, call: str, **values: object) -> int:
    explained: Any = connection.execute(sa.text(f"explain (analyze, buffers, format json) {call}"), values).scalar_one()
    plan = explained[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.mark.parametrize("seen", ["nothing", "empty tables", "one tenant", "all", "dead rows"])
def test_fault_043_a_claim_and_its_completion_read_a_few_pages_for_each_job(database: Database, seen: str) -> None:
    with database.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        with database.engine().begin() as setup:
            if seen in ("one tenant", "dead rows"):
                fill(setup, 1, 5000)
        if seen in ("empty tables", "one tenant", "dead rows"):
            c.execute(sa.text("analyze"))
        for table in ("jobs", "ready"):
            c.execute(sa.text(f"delete from jobforge.{table}" if seen == "dead rows" else f"truncate jobforge.{table}"))
        if seen == "dead rows":
            c.execute(sa.text("vacuum analyze"))
        with database.engine().begin() as setup:
            fill(setup, TENANTS, EACH)
        if seen == "all":
            c.execute(sa.text("analyze"))
        claim = "select * from jobforge.claim_jobs(:w, '{default}', '{t}', :n, null, array[''])"
        complete = "select * from jobforge.complete_jobs(cast(:d as json))"
        leases = sa.text(
            "select json_agg(json_build_object('job_id', job_id, 'lease_token', token, 'outcome', 'succeeded'))::text"
            " from jobforge.leases"
        )
        # the first call of a session reads the catalog as well
        for call in range(8):  # past the fifth call plpgsql may turn to a generic plan
            read = pages(c, claim, w=uuid.uuid4(), n=BATCH)
            assert read < 40 * BATCH or not call, f"claim {call} of {BATCH} read {read} pages"
            read = pages(c, complete, d=c.execute(leases).scalar_one())
            assert read < 60 * BATCH or not call, f"completion {call} of {BATCH} read {read} pages"


DUE_LATER = {
    "promote_due(1000)": "insert into jobforge.scheduled (tenant_id, job_id, run_at, queue, priority, type, run,"
    " attempt, crashes) select 'a', gen_random_uuid(), now() + interval '1 hour', 'default', 0, 't', 0, 0, 0",
    "upkeep(null, 1000, false)": "insert into jobforge.webhook_endpoints (tenant_id, url_sha256, url, failures,"
    " last_failed_at) select 'a', sha256(n::text::bytea), 'u', 1, now()",
}


@pytest.mark.no_audit("rows without jobs, which are only looked at")
@pytest.mark.parametrize("what", DUE_LATER)
def test_what_is_due_later_is_not_read(database: Database, what: str) -> None:
    with database.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        c.exec_driver_sql(f"{DUE_LATER[what]} from generate_series(1, 20000) n")
        c.exec_driver_sql("analyze")
        for _ in range(3):  # the first call of a session reads the catalog as well
            read = pages(c, f"select * from jobforge.{what}")
        assert read < 100


def test_what_was_promoted_is_passed_once_a_second_and_not_by_each_claim(sql: Sql) -> None:
    """Somebody holds a snapshot, so that it cannot be removed."""
    worker = sql.connect("jf_worker")
    worker.autocommit = True
    look = b"explain (analyze, buffers, format json) select * from jobforge.claim_jobs(%s, '{other}', '{t}')"

    def read() -> int:
        (row,) = worker.execute(look, [sql.worker]).fetchall()
        plan = row["QUERY PLAN"][0]["Plan"]
        return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])

    assert [read() for _ in range(3)][-1] < 100
    sql.connect(isolation="repeatable read").execute("select")
    due = DUE_LATER["promote_due(1000)"].replace("+ interval", "- interval")
    sql.session("postgres").execute(f"{due} from generate_series(1, 50000)".encode())
    sql.session("postgres").execute("delete from jobforge.scheduled")
    sql.session("postgres").execute("analyze jobforge.scheduled")
    assert max(read() for _ in range(3)) > 1000
    assert min(read() for _ in range(3)) < 100

    slow = sql.connect(tenant="a")
    (late,) = call(slow, "enqueue_job", type="t", delay=dt.timedelta(milliseconds=1))
    asked = {"worker_id": sql.worker, "queues": ["default"], "types": ["t"], "limit": 1000}
    wait_for(lambda: read() < 100, what="a look behind it")
    slow.commit()
    found = wait_for(lambda: [run["job_id"] for run in call(worker, "claim_jobs", **asked)], 5, "the next full look")
    assert found == [late["id"]], "what was committed late is found all the same"
