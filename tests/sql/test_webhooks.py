"""The log of webhooks in SQL: by the token of a run, in step with its end; endpoints that fail, and whose they are."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from tests.support import Connection, Row, Sql, call, item, refused

URL = "https://hooks.example.com/a"
DAY = dt.timedelta(days=1)


def running(sql: Sql, tenant: str = "a") -> Row:
    sql("heartbeat_jobs", worker_id=sql.worker)
    job = sql.enqueue(tenant)
    (run,) = [one for one in sql.claim(100) if one["job_id"] == job]
    return run


def entry(run: Row, outcome: str = "failed", **more: Any) -> Row:
    told = {"url": URL, "event_id": "e1", "event_type": "order.paid", "outcome": outcome}
    return {"job_id": run["job_id"], "lease_token": run["lease_token"]} | told | more


def log(sql: Sql, run: Row, outcome: str = "failed", **more: Any) -> Row | None:
    rows = sql("log_delivery", user="jf_app", **entry(run, outcome, **more))
    return rows[0] if rows else None


def tried(sql: Sql, *outcomes: str, tenant: str = "a", **more: Any) -> Row:
    """Deliveries of jobs of their own; how the endpoint stands after the last."""
    for outcome in outcomes:
        found = log(sql, running(sql, tenant), outcome, **more)
    assert found is not None
    return found


def endpoints(sql: Sql, tenant: str | None = "a", user: str = "jf_app", **more: Any) -> list[Row]:
    return sql("list_webhooks", user=user, tenant=tenant, **more)


# --- the log -----------------------------------------------------------------------------------------------


def test_a_delivery_is_logged_with_its_run_and_read_by_its_tenant(sql: Sql) -> None:
    run = running(sql)
    more: Row = {"status": 503, "error": "e" * 2000, "duration_ms": 12, "preview": "p" * 3000}
    assert log(sql, run, **more) == {"failures": 1, "disabled_at": None}
    sql.complete(run)
    (row,) = sql.look("select * from jobforge.all_deliveries", user="jf_admin")
    assert row["at"] is not None
    assert {name: row[name] for name in row if name != "at"} == {
        "job_id": run["job_id"], "run": 1, "tenant_id": "a", "attempt": 1, "url": URL, "event_id": "e1",
        "event_type": "order.paid", "outcome": "failed", "status": 503, "error": "e" * 1000, "duration_ms": 12,
        "preview": "p" * 2000,
    }  # fmt: skip
    for tenant, seen in (("a", 1), ("b", 0), (None, 0)):
        app = sql.connect("jf_app", tenant=tenant)
        for relation in ("all_deliveries", "webhook_deliveries"):
            assert len(app.execute(f"select * from jobforge.{relation}".encode()).fetchall()) == seen
        app.close()


def test_the_log_and_the_end_of_the_run_are_there_together_or_not_at_all(sql: Sql) -> None:
    run = running(sql)
    for ends in (False, True):
        app = sql.connect("jf_app", tenant="a")
        call(app, "log_delivery", **entry(run, "delivered"))
        (answer,) = call(app, "complete_jobs", results=Json([item(run)]))
        assert answer["answer"] == "done"
        app.commit() if ends else app.rollback()
        assert len(sql.look("select * from jobforge.webhook_deliveries")) == ends


def test_without_a_live_lease_nothing_is_logged(sql: Sql) -> None:
    run, other = running(sql), running(sql, "b")
    for token in (uuid.uuid4(), other["lease_token"], None):
        assert log(sql, run, lease_token=token) is None
    assert sql("log_delivery", user="jf_app", tenant="b", **entry(run)) == []
    sql.complete(run)
    assert log(sql, run) is None
    assert sql.look("select * from jobforge.webhook_deliveries") == []
    assert sql.look("select * from jobforge.webhook_endpoints") == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"outcome": "lost"}, "no delivery ends as"), ({"outcome": None}, "no delivery ends as"),
        ({"url": ""}, "a URL of 1 to 2048"), ({"url": "x" * 2049}, "a URL of 1 to 2048"), ({"url": None}, "a URL of 1"),
        ({"event_id": ""}, "an event id"), ({"event_type": "x" * 201}, "a type"),
    ],
)  # fmt: skip
def test_what_is_no_delivery_is_refused(sql: Sql, wrong: Row, words: str) -> None:
    with refused("JF003", words):
        sql("log_delivery", user="jf_app", **entry(running(sql)) | wrong)


def test_one_run_has_one_delivery(sql: Sql) -> None:
    run = running(sql)
    log(sql, run)
    with pytest.raises(psycopg.errors.UniqueViolation):
        log(sql, run)


# --- endpoints ---------------------------------------------------------------------------------------------


def test_failures_in_a_row_that_last_disable_an_endpoint(sql: Sql) -> None:
    clock = sql.clock()
    limits: Row = {"disable_after": 3, "disable_after_time": dt.timedelta(minutes=30)}
    assert tried(sql, *["failed"] * 5, **limits) == {"failures": 5, "disabled_at": None}
    clock.advance(minutes=29)
    assert tried(sql, "failed", **limits)["disabled_at"] is None
    clock.advance(minutes=1)
    assert tried(sql, "failed", **limits) == {"failures": 7, "disabled_at": clock.now()}
    (row,) = endpoints(sql)
    assert row["reason"].startswith("7 deliveries in a row have failed since ")
    assert row["disabled_at"] - row["first_failed_at"] == dt.timedelta(minutes=30)

    since = row["disabled_at"]
    clock.advance(minutes=1)
    assert tried(sql, "failed", "gone", **limits)["disabled_at"] == since
    assert tried(sql, "delivered", **limits)["disabled_at"] == since  # one was under way: it stays disabled


def test_few_failures_disable_nothing_however_long_they_last(sql: Sql) -> None:
    clock = sql.clock()
    tried(sql, *["failed"] * 18)
    clock.advance(hours=20)
    assert tried(sql, "failed")["disabled_at"] is None
    assert tried(sql, "failed")["disabled_at"] is not None  # the defaults: 20 of them, over an hour


def test_an_endpoint_of_which_nothing_is_heard_any_more_is_forgotten(sql: Sql) -> None:
    """A tenant may make up URLs without end; their jobs go, and so do they."""
    clock = sql.clock()
    tried(sql, "failed", "failed")
    tried(sql, "failed", url=f"{URL}/2")
    sql("disable_webhook", tenant="a", url=f"{URL}/3")
    clock.advance(days=89)
    tried(sql, "failed", url=f"{URL}/2")
    clock.advance(days=2)
    sql("upkeep", user="jf_worker")
    assert sorted(row["url"] for row in endpoints(sql)) == [f"{URL}/2", f"{URL}/3"], (
        "the disabled ones stay, and are seen"
    )
    assert tried(sql, "failed")["failures"] == 1


def test_a_success_ends_the_row_and_what_was_not_sent_counts_for_nothing(sql: Sql) -> None:
    assert tried(sql, "failed", "failed", "blocked", "skipped")["failures"] == 2
    assert tried(sql, "delivered") == {"failures": 0, "disabled_at": None}
    assert sql.look("select * from jobforge.webhook_endpoints") == []
    assert tried(sql, "failed")["failures"] == 1


def test_an_endpoint_that_is_gone_is_disabled_at_once_for_its_tenant_alone(sql: Sql) -> None:
    assert tried(sql, "gone")["disabled_at"] is not None
    assert tried(sql, "failed", tenant="b") == {"failures": 1, "disabled_at": None}
    assert tried(sql, "failed", url=URL + "/other") == {"failures": 1, "disabled_at": None}
    assert [(row["url"], row["reason"]) for row in endpoints(sql)] == [
        (URL, "it answered 410 Gone"), (URL + "/other", None),
    ]  # fmt: skip
    assert [row["tenant_id"] for row in endpoints(sql, "b")] == ["b"]
    assert [row["tenant_id"] for row in endpoints(sql, None, "jf_admin")] == ["a", "a", "b"]
    assert endpoints(sql, None) == []
    assert [row["url"] for row in endpoints(sql, url=URL)] == [URL]
    assert len(endpoints(sql, limit=1)) == 1
    with refused("JF003", "p_limit"):
        endpoints(sql, limit=0)


def test_a_tenant_disables_and_enables_its_own_endpoints(sql: Sql) -> None:
    tried(sql, "failed", tenant="b")
    (row,) = sql("disable_webhook", tenant="a", url=URL, reason="moved")
    assert (row["tenant_id"], row["failures"], row["reason"]) == ("a", 0, "moved")
    (again,) = sql("disable_webhook", tenant="a", url=URL, reason="another")
    assert (again["reason"], again["disabled_at"]) == ("moved", row["disabled_at"])
    assert endpoints(sql, "b")[0]["disabled_at"] is None
    (gone,) = sql("enable_webhook", tenant="a", url=URL)
    assert gone["reason"] == "moved"
    assert sql("enable_webhook", tenant="a", url=URL) == []
    assert len(endpoints(sql, "b")) == 1
    for function in ("disable_webhook", "enable_webhook"):
        with refused("JF001"):
            sql(function, url=URL)
        with refused("42501"):
            sql(function, user="jf_worker", tenant="a", url=URL)
    with refused("JF003", "1 to 2048"):
        sql("disable_webhook", tenant="a", url="")


def test_an_administrator_acts_for_the_tenant(sql: Sql) -> None:
    admin = sql.connect("jf_admin")
    call(admin, "act_for", tenant_id="a")
    call(admin, "disable_webhook", url=URL)
    admin.commit()
    assert [row["reason"] for row in endpoints(sql)] == ["somebody disabled it"]


def test_the_longest_url_and_tenant_have_a_key(sql: Sql) -> None:
    tenant, url = "☂" * 200, "https://x.y/" + "".join(f"{n:08x}" for n in range(254))
    assert tried(sql, "failed", "failed", tenant=tenant, url=url)["failures"] == 2


def test_two_failures_at_once_are_both_counted(sql: Sql) -> None:
    runs = [running(sql) for _ in range(8)]

    def fail(run: Row) -> None:
        with psycopg.connect(sql.database.dsn("jf_app"), row_factory=psycopg.rows.dict_row) as app:
            call(app, "log_delivery", **entry(run))
            call(app, "complete_jobs", results=Json([item(run, "failed")]))

    sql.together([lambda run=run: fail(run) for run in runs])  # type: ignore[misc]
    assert endpoints(sql)[0]["failures"] == 8


# --- with their jobs ---------------------------------------------------------------------------------------


def ended(sql: Sql, tenant: str = "a") -> uuid.UUID:
    run = running(sql, tenant)
    log(sql, run, "delivered", status=204)
    sql.complete(run)
    job: uuid.UUID = run["job_id"]
    return job


def left(sql: Sql) -> list[str]:
    return [row["tenant_id"] for row in sql.look("select tenant_id from jobforge.webhook_deliveries order by 1")]


def test_deliveries_go_with_their_jobs(sql: Sql) -> None:
    clock = sql.clock()
    ended(sql)
    clock.advance(days=8)
    ended(sql, "b")
    sql("prune", user="jf_admin", anew=True)
    assert left(sql) == ["b"]


def test_a_purge_takes_deliveries_and_endpoints_of_the_tenant_alone(sql: Sql) -> None:
    for tenant in "ab":
        ended(sql, tenant)
        tried(sql, "gone", tenant=tenant)
    held = running(sql)
    assert log(sql, held) is not None
    before = {row["relation"]: row["rows"] for row in sql("count_tenant", user="jf_admin", tenant_id="a")}
    assert (before["webhook_deliveries"], before["webhook_endpoints"]) == (3, 1)
    while sql("purge_tenant", user="jf_admin", tenant_id="a")[0]["purge_tenant"]:
        pass
    assert left(sql) == ["b", "b"]
    assert [row["tenant_id"] for row in endpoints(sql, None, "jf_admin")] == ["b"]
    after = sql("count_tenant", user="jf_admin", tenant_id="a")
    assert {row["rows"] for row in after} == {0}


def test_a_purge_waits_for_a_delivery_that_is_being_logged_and_they_do_not_deadlock(sql: Sql) -> None:
    run = running(sql)
    tried(sql, "failed", tenant="a")
    app = sql.connect("jf_app", tenant="a")
    call(app, "log_delivery", **entry(run))
    admin: Connection = sql.connect("jf_admin")
    purge = sql.waits(admin, lambda: call(admin, "purge_tenant", tenant_id="a"))
    call(app, "complete_jobs", results=Json([item(run)]))
    app.commit()
    assert purge.result(timeout=10) == [{"purge_tenant": 2}]
    admin.commit()
    while sql("purge_tenant", user="jf_admin", tenant_id="a")[0]["purge_tenant"]:
        pass
    assert left(sql) == []


def test_an_export_has_the_deliveries_of_each_job(sql: Sql) -> None:
    ended(sql)
    ended(sql, "b")
    (row,) = sql("export_tenant", user="jf_admin", tenant_id="a")
    (delivery,) = json.loads(row["record"])["deliveries"]
    assert (delivery["outcome"], delivery["status"], delivery["url"]) == ("delivered", 204, URL)


def test_the_auditor_finds_a_delivery_without_its_job(sql: Sql) -> None:
    job = ended(sql)
    owner = sql.connect("postgres")
    owner.execute("set local role jobforge_owner")
    owner.execute("update jobforge.webhook_deliveries set tenant_id = 'b'")
    found = call(owner, "audit")
    owner.rollback()
    assert found == [{"job_id": job, "fault": "has a delivery of another tenant or none of its own"}]


def test_no_estimate_says_which_endpoints_other_tenants_have(sql: Sql) -> None:
    """The key is a hash, and who knows a URL knows its hash."""
    sql.session("postgres").execute(
        "insert into jobforge.webhook_endpoints (tenant_id, url_sha256, url, failures) "
        "select 't' || n, sha256(u::bytea), u, 0 "
        "from generate_series(1, 20000) n cross join lateral (values (%s), (%s || '/' || n)) v (u)",
        (URL, URL),
    )
    sql.session("postgres").execute("analyze jobforge.webhook_endpoints")
    app = sql.connect("jf_app", tenant="a")
    guess = "explain (format json) select 1 from jobforge.webhook_endpoints where url_sha256 = {}"
    counts = set()
    for url in (URL, f"{URL}/3", "https://nobody.example.com/"):
        plan = app.execute(psycopg.sql.SQL(guess).format(hashlib.sha256(url.encode()).digest())).fetchone()
        assert plan is not None
        counts.add(plan["QUERY PLAN"][0]["Plan"]["Plan Rows"])
    assert len(counts) == 1, counts
