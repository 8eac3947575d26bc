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


LOUD = (
    "load 'auto_explain'", "set auto_explain.log_nested_statements = on", "set auto_explain.log_min_duration = 0",
    "set auto_explain.log_analyze = on", "set auto_explain.log_timing = off", "set auto_explain.log_format = json",
    "set auto_explain.log_level = notice", "set jobforge.tenant_id = 'a'",
)  # fmt: skip
ITEM = "json_build_object('job_id', job_id, 'lease_token', token, 'outcome'"
ENDS = (
    f"(select json_agg({ITEM}, case when run < 2 then 'failed' else 'succeeded' end, 'delay', 0)) from jobforge.leases)"
)
KEYS = "(select json_agg(json_build_object('type', 't', 'idempotency_key', n)) from generate_series(1, 500) n)"
LIFE = (
    "claim_jobs(gen_random_uuid(), '{default}', '{t}', 500, null, array[''])",
    "heartbeat_jobs(gen_random_uuid(), array(select job_id from jobforge.leases))",
    "cancel_jobs('running', p_limit => 500)",
    "reschedule_jobs(p_delay => interval '0', p_state => 'queued', p_limit => 500)",
    f"complete_jobs({ENDS})",
    f"enqueue_jobs({KEYS})",
    "rescue_expired_jobs()",
    "retry_jobs(p_limit => 500)",
    "prune(500, true)",
)


def met(node: Any) -> float:
    """The most rows that any part of a plan has given or thrown away."""
    each = sum(node.get(f"Rows Removed by {what}", 0) for what in ("Join Filter", "Filter", "Index Recheck"))
    mine = float((node["Actual Rows"] + each) * node["Actual Loops"])
    return max([mine, *map(met, node.get("Plans", ()))])


def fill_ordered(connection: sa.Connection) -> None:
    connection.execute(sa.text("select set_config('jobforge.tenant_id', 'a', true)"))
    keys = "(select json_agg(json_build_object('type', 't', 'ordering_key', n)) from generate_series(1, 10000) n)"
    connection.execute(sa.text(f"select count(*) from jobforge.enqueue_jobs({keys})"))


@pytest.mark.parametrize("seen", ["all", "empty tables"])
@pytest.mark.parametrize("filled", ["one tenant", "a hundred", "ordered"])
def test_no_statement_of_a_jobs_life_compares_each_row_with_each(database: Database, filled: str, seen: str) -> None:
    """With 10,000 jobs of one tenant a completion of 500 once read all of them 500 times: a materialized join."""
    with database.engine().begin() as setup:
        if seen == "empty tables":
            setup.execute(sa.text("analyze"))
        if filled == "ordered":
            fill_ordered(setup)
        else:
            fill(setup, *{"one tenant": (1, 10_000), "a hundred": (100, 100)}[filled])
    with database.engine().connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        said: list[str] = []
        raw: Any = c.connection.dbapi_connection
        if seen == "all":
            c.execute(sa.text("analyze"))
        for setting in LOUD:
            c.execute(sa.text(setting))
        raw.add_notice_handler(lambda notice: said.append(notice.message_primary))
        dear: dict[str, str] = {}
        for _ in range(7):  # past the fifth call plpgsql may turn to a generic plan
            for step in LIFE:
                said.clear()
                raw.execute(f"select count(*) from jobforge.{step}")
                for plan in (json.loads(text.partition("plan:\n")[2]) for text in said):
                    if met(plan["Plan"]) > 12_000:
                        dear[f"{step}: {met(plan['Plan'])}"] = plan["Query Text"]
        assert dear == {}
