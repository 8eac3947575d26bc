"""What administrators do with a whole tenant: pause, limit, count, export, purge, act for."""

from __future__ import annotations

import datetime as dt
import json
import uuid

import pytest
from psycopg.types.json import Json

from tests.support import Row, Sql, call, item, refused

ADMIN = {"user": "jf_admin"}
HOUR = dt.timedelta(hours=1)


def pause(sql: Sql, *tenants: str) -> None:
    for tenant in tenants:
        sql("pause_tenant", user="jf_admin", tenant_id=tenant)


def limit(sql: Sql, tenant: str, quota: int | None) -> Row:
    (row,) = sql("limit_tenant", user="jf_admin", tenant_id=tenant, change={"max_waiting": quota})
    return row


def count(sql: Sql, tenant: str) -> dict[str, int]:
    """What there is of a tenant, without the zeros."""
    rows = sql("count_tenant", user="jf_admin", tenant_id=tenant)
    return {row["relation"]: row["rows"] for row in rows if row["rows"]}


def purge(sql: Sql, tenant: str, limit: int = 1000) -> list[int]:
    """Purge to the end; what each call met."""
    met: list[int] = []
    while not met or met[-1]:
        assert len(met) < 2000
        (row,) = sql("purge_tenant", user="jf_admin", tenant_id=tenant, limit=limit)
        met.append(row["purge_tenant"])
    return met


def everywhere(sql: Sql, tenant: str) -> None:
    """Jobs of the tenant in every table."""
    sql.enqueue(tenant, type_=tenant, idempotency_key="k")
    sql.complete(sql.claim_one(types=[tenant]), "failed", final=True)
    held = sql.enqueue(tenant, type_=tenant)
    sql.claim_one(types=[tenant])
    sql("cancel_job", tenant=tenant, job_id=held)
    sql.enqueue(tenant)
    sql.enqueue(tenant, delay=HOUR)
    sql.enqueue(tenant, queue="other", priority=5)


# --- pause -------------------------------------------------------------------------------------------------


def test_a_paused_tenants_jobs_wait_and_the_others_are_served(sql: Sql) -> None:
    for tenant in "abc":
        sql.fill(tenant, 3)
    pause(sql, "b")
    assert sorted(run["tenant_id"] for run in sql.claim(100)) == ["a"] * 3 + ["c"] * 3
    assert sql.claim(100) == []
    sql("resume_tenant", user="jf_admin", tenant_id="b")
    assert [run["tenant_id"] for run in sql.claim(100)] == ["b"] * 3


def test_what_runs_goes_on_and_what_comes_waits(sql: Sql) -> None:
    sql.enqueue("a")
    run = sql.claim_one()
    pause(sql, "a")
    assert sql.complete(run, "failed", delay=0) == "done"
    sql.enqueue("a")
    assert sql.claim() == []
    assert [row["state"] for row in sql("list_jobs", tenant="a")] == ["queued", "queued"]


def test_a_job_that_becomes_due_while_its_tenant_is_paused_waits(sql: Sql) -> None:
    clock = sql.clock()
    sql.enqueue("a", delay=HOUR)
    pause(sql, "a")
    clock.advance(hours=2)
    assert sql.claim() == []
    sql("resume_tenant", user="jf_admin", tenant_id="a")
    assert len(sql.claim()) == 1


@pytest.mark.parametrize("cursor", [None, "", "t05", "t11", "t12", "t13", "t99"])
def test_paused_tenants_are_passed_over_wherever_the_ring_begins(sql: Sql, cursor: str | None) -> None:
    names = [f"t{n:02}" for n in range(25)]
    for name in names:
        sql.fill(name, 2)
    pause(sql, *[name for name in names if name != "t12"])
    runs = sql.claim(1, cursors=[cursor]) + sql.claim(5, cursors=[cursor])
    assert [run["tenant_id"] for run in runs] == ["t12", "t12"]
    assert sql.claim(5, cursors=[cursor]) == []


def test_claims_end_where_all_tenants_are_paused(sql: Sql) -> None:
    names = [f"t{n:02}" for n in range(30)]
    for name in names:
        sql.fill(name, 2)
    pause(sql, *names)
    for size in (1, 7, 30, 100):
        assert sql.claim(size) == []


def test_tenants_that_are_served_share_evenly_among_paused_ones(sql: Sql) -> None:
    names = [f"t{n:02}" for n in range(20)]
    for name in names:
        sql.fill(name, 10)
    pause(sql, *names[::2])
    got = [run["tenant_id"] for run in sql.claim(30)]
    assert {name: got.count(name) for name in names[1::2]} == dict.fromkeys(names[1::2], 3)


def test_pausing_twice_keeps_the_first_time_and_resuming_forgets_the_tenant(sql: Sql) -> None:
    (first,) = sql("pause_tenant", tenant_id="a", user="jf_admin")
    (again,) = sql("pause_tenant", tenant_id="a", user="jf_admin")
    assert first == again
    (resumed,) = sql("resume_tenant", tenant_id="a", user="jf_admin")
    assert (resumed["name"], resumed["paused_at"]) == ("a", None)
    assert sql("resume_tenant", tenant_id="a", user="jf_admin") == []
    assert sql.look("select * from jobforge.limits") == []


def test_a_pause_and_a_quota_do_not_touch_each_other(sql: Sql) -> None:
    limit(sql, "a", 5)
    pause(sql, "a")
    sql("resume_tenant", user="jf_admin", tenant_id="a")
    assert [(row["paused_at"], row["max_waiting"]) for row in sql.look("select * from jobforge.limits")] == [(None, 5)]
    pause(sql, "a")
    assert limit(sql, "a", None)["paused_at"] is not None


def test_resuming_wakes_the_workers_of_all_queues_in_which_something_waits(sql: Sql) -> None:
    sql.enqueue("a", queue="mail")
    sql.enqueue("b", queue="other")
    pause(sql, "a")
    listener = sql.asleep("mail", "other")
    sql("resume_tenant", user="jf_admin", tenant_id="a")
    assert [notify.payload for notify in listener.notifies(timeout=5, stop_after=2)] == ["mail", "other"]


# --- quotas ------------------------------------------------------------------------------------------------


def test_an_enqueue_over_the_quota_is_refused_with_all_that_came_with_it(sql: Sql) -> None:
    limit(sql, "a", 3)
    sql.fill("a", 2)
    app = sql.connect("jf_app", tenant="a")
    call(app, "enqueue_job", type="t")
    with refused("JF007", "quota of 3"):
        call(app, "enqueue_job", type="t")
    app.rollback()
    with refused("JF007"):
        sql.fill("a", 2)
    assert count(sql, "a")["jobs"] == 2
    sql.fill("a", 1)
    sql.fill("b", 10)


def test_scheduled_jobs_and_all_queues_count_and_what_has_ended_or_runs_does_not(sql: Sql) -> None:
    limit(sql, "a", 3)
    sql.enqueue("a", queue="one")
    sql.enqueue("a", queue="two")
    sql.enqueue("a", delay=HOUR)
    with refused("JF007"):
        sql.enqueue("a", queue="three")
    run = sql.claim_one(queues=["one"])
    job = sql.enqueue("a", queue="three")
    sql.complete(run)
    with refused("JF007"):
        sql.enqueue("a", delay=HOUR)
    sql("cancel_job", tenant="a", job_id=job)
    sql.enqueue("a", delay=HOUR)


def test_a_repeat_of_an_idempotent_job_is_no_new_one(sql: Sql) -> None:
    limit(sql, "a", 1)
    job = sql.enqueue("a", idempotency_key="k")
    assert sql.enqueue("a", idempotency_key="k") == job
    items = [{"type": "t", "idempotency_key": "k"}] * 3
    assert {row["id"] for row in sql("enqueue_jobs", tenant="a", jobs=Json(items))} == {job}


def test_a_failed_attempts_retry_is_not_refused_and_that_of_a_dead_job_is(sql: Sql) -> None:
    dead = sql.enqueue("a", max_attempts=1)
    sql.complete(sql.claim_one(), "failed")
    sql.enqueue("a")
    limit(sql, "a", 1)
    assert sql.complete(sql.claim_one(), "failed", delay=0) == "done"
    with refused("JF007"):
        sql("retry_job", tenant="a", job_id=dead)
    with refused("JF007"):
        sql.enqueue("a")
    limit(sql, "a", None)
    assert sql("retry_job", tenant="a", job_id=dead)[0]["state"] == "queued"


def test_an_open_transaction_stops_no_other_enqueue_of_its_tenant(sql: Sql) -> None:
    """So two that race at the edge may pass it together: the price, and it is bounded by what is open at once."""
    limit(sql, "a", 1)
    one = sql.connect("jf_app", tenant="a")
    call(one, "enqueue_job", type="t")
    sql.enqueue("a")
    one.commit()
    assert count(sql, "a")["ready"] == 2
    with refused("JF007"):
        sql.enqueue("a")


def refusal_pages(sql: Sql, tenant: str) -> int:
    """What a count costs that is over the quota."""
    owner = sql.connect("postgres")
    owner.execute("set local role jobforge_owner")
    owner.execute(
        "create function pg_temp.tried(text) returns void language plpgsql as "
        "$$ begin perform jobforge.check_quota($1); exception when sqlstate 'JF007' then null; end $$"
    )
    query = "explain (analyze, buffers, format json) select pg_temp.tried(%s)"
    plans = [owner.execute(query, [tenant]).fetchone() for _ in range(5)]
    # the first one loads the catalog, and so does one that another test's DDL has come before
    return min(int(plan["QUERY PLAN"][0]["Plan"]["Shared Hit Blocks"]) for plan in plans if plan)


def test_the_count_ends_at_the_quota_however_many_jobs_there_are(sql: Sql) -> None:
    """Pages are asserted, not time: a tenant far over its quota is refused as quickly as one just over it."""
    sql.fill("b", 3000)
    sql.fill("a", 3000)
    limit(sql, "a", 10)
    with refused("JF007"):
        sql.enqueue("a")
    assert refusal_pages(sql, "a") < 60


def test_a_quota_holds_over_all_queues_however_many_there_are(sql: Sql) -> None:
    """Pages are asserted: a tenant in thousands of queues is counted as one in a single queue."""
    items = [{"type": "t", "queue": f"a{n}"} for n in range(3000)]
    limit(sql, "a", 10)
    with refused("JF007"):
        sql("enqueue_jobs", tenant="a", jobs=Json(items[:11]))
    limit(sql, "a", None)
    for tenant in "ab":
        sql("enqueue_jobs", tenant=tenant, jobs=Json(items))
    limit(sql, "a", 10)
    assert refusal_pages(sql, "a") < 60
    limit(sql, "a", 3001)
    sql.enqueue("a", queue="z")
    with refused("JF007"):
        sql.enqueue("a", queue="y")


@pytest.mark.parametrize("quota", [-1, 10_000_001])
def test_a_quota_that_is_none_is_refused(sql: Sql, quota: int) -> None:
    with refused("JF003"):
        limit(sql, "a", quota)


# --- count, list, export -----------------------------------------------------------------------------------


def test_tenants_are_counted_and_listed(sql: Sql) -> None:
    everywhere(sql, "a")
    sql.enqueue("b")
    pause(sql, "c")
    limit(sql, "b", 7)
    assert count(sql, "a") == {
        "jobs": 5, "ready": 2, "scheduled": 1, "leases": 1, "outcomes": 1, "attempts": 1, "cancel_requests": 1,
        "idempotency_keys": 1,
    }  # fmt: skip
    rows = sql("list_tenants", user="jf_admin")
    told = [(r["tenant_id"], r["queued"], r["scheduled"], r["running"], r["max_waiting"]) for r in rows]
    assert told == [("a", 2, 1, 1, None), ("b", 1, 0, 0, 7), ("c", 0, 0, 0, None)]
    assert [row["paused_at"] is not None for row in rows] == [False, False, True]
    assert count(sql, "nobody") == {}


def test_a_job_of_many_attempts_is_exported_in_pieces_that_fit(sql: Sql) -> None:
    """One that snoozes each minute has half a million in a year: more than one text may hold."""
    job = sql.enqueue("a")
    sql.complete(sql.claim_one(), "snoozed")
    owner = sql.connect("postgres")
    owner.execute("set local role jobforge_owner")
    owner.execute(
        "insert into jobforge.attempts select a.job_id, a.run + n, a.tenant_id, a.attempt, a.outcome, a.worker_id, "
        "a.token, a.claimed_at, a.finished_at, a.run_ms, a.error from jobforge.attempts a, generate_series(1, 2500) n"
    )
    owner.commit()
    later = sql.enqueue("a")
    records = [json.loads(r["record"]) for r in sql("export_tenant", user="jf_admin", tenant_id="a", cursor=None)]
    assert [record.get("job", {}).get("id", record.get("job_id")) for record in records] == [str(job)] * 3 + [
        str(later)
    ]
    runs = [attempt["run"] for record in records for attempt in record["attempts"]]
    assert runs == list(range(1, 2502))
    assert max(len(record["attempts"]) for record in records) == 1000


def test_an_export_has_everything_of_the_tenant_in_pages_and_no_token(sql: Sql) -> None:
    for tenant in "ab":
        everywhere(sql, tenant)
    tokens = {
        str(row["token"])
        for row in sql.look("select token from jobforge.leases union select token from jobforge.attempts")
    }
    records: list[Row] = []
    cursor: uuid.UUID | None = None
    while page := sql("export_tenant", user="jf_admin", tenant_id="a", cursor=cursor, limit=2):
        assert len(page) <= 2
        cursor = page[-1]["job_id"]
        assert not any(token in row["record"] for row in page for token in tokens)
        records += [json.loads(row["record"]) for row in page]

    jobs = [record["job"] for record in records]
    assert [job["id"] for job in jobs] == [
        str(row["id"]) for row in sql.look("select id from jobforge.jobs where tenant_id = 'a' order by id")
    ]
    assert {job["tenant_id"] for job in jobs} == {"a"}
    assert [job["state"] for job in jobs] == ["dead", "running", "queued", "scheduled", "queued"]
    assert [attempt["outcome"] for attempt in records[0]["attempts"]] == ["failed"]
    assert records[1]["cancel_requested_at"] is not None
    columns = [
        row["name"]
        for row in sql.look(
            "select attname as name from pg_attribute where attrelid = 'jobforge.all_jobs'::regclass and attnum > 0 "
            "order by attnum"
        )
    ]
    assert list(jobs[0]) == columns


# --- purge -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_purge_leaves_nothing_of_the_tenant_and_everything_of_the_others(sql: Sql, size: int) -> None:
    for tenant in "abc":
        everywhere(sql, tenant)
    pause(sql, "a")
    limit(sql, "a", 100)
    before = count(sql, "b"), count(sql, "c")
    purge(sql, "a", size)
    assert count(sql, "a") == {}
    assert (count(sql, "b"), count(sql, "c")) == before


def test_a_running_job_that_is_purged_is_lost_to_its_worker(sql: Sql) -> None:
    sql.enqueue("a")
    run = sql.claim_one()
    assert purge(sql, "a") == [1, 0]
    assert sql.complete(run) == "lost"
    signals = sql("heartbeat_jobs", worker_id=sql.worker, runs=[run["lease_token"]])
    assert [row["signal"] for row in signals] == ["lost"]


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "released"])
def test_a_purge_that_meets_a_completion_under_way_leaves_no_half_of_the_job(sql: Sql, outcome: str) -> None:
    """The job moves behind the purge's back; the purge waits, sees where it stands now, and leaves it for later."""
    sql.enqueue("a", max_attempts=5)
    run = sql.claim_one()
    worker, admin = sql.connect("jf_worker"), sql.connect("jf_admin")
    call(worker, "complete_jobs", results=Json([item(run, outcome)]))
    purger = sql.waits(admin, lambda: call(admin, "purge_tenant", tenant_id="a"))
    worker.commit()
    assert purger.result(timeout=10)[0]["purge_tenant"] == 1
    admin.commit()
    assert count(sql, "a")["jobs"] == 1
    assert sql("audit") == []
    purge(sql, "a")
    assert count(sql, "a") == {}


def test_a_purge_that_meets_a_claim_under_way_takes_the_running_job(sql: Sql) -> None:
    sql.enqueue("a")
    worker, admin = sql.connect("jf_worker"), sql.connect("jf_admin")
    (run,) = call(worker, "claim_jobs", worker_id=sql.worker, queues=["default"], types=["t"])
    purger = sql.waits(admin, lambda: call(admin, "purge_tenant", tenant_id="a"))
    worker.commit()
    purger.result(timeout=10)
    admin.commit()
    assert sql("audit") == []
    purge(sql, "a")
    assert count(sql, "a") == {}
    assert sql.complete(run) == "lost"


@pytest.mark.parametrize("function", ["cancel_job", "retry_job", "reschedule_job"])
def test_a_purge_that_meets_an_open_change_of_the_job_leaves_no_half_of_it(sql: Sql, function: str) -> None:
    job = sql.enqueue("a")
    if function == "retry_job":
        sql("cancel_job", tenant="a", job_id=job)
    app, admin = sql.connect("jf_app", tenant="a"), sql.connect("jf_admin")
    call(app, function, job_id=job, **({"delay": HOUR} if function == "reschedule_job" else {}))
    purger = sql.waits(admin, lambda: call(admin, "purge_tenant", tenant_id="a"))
    app.commit()
    purger.result(timeout=10)
    admin.commit()
    assert sql("audit") == []
    purge(sql, "a")
    assert count(sql, "a") == {}


def test_a_cancel_that_is_committed_behind_a_purge_is_forgotten_by_the_next_upkeep(sql: Sql) -> None:
    sql.enqueue("a")
    run = sql.claim_one()
    app = sql.connect("jf_app", tenant="a")
    call(app, "cancel_job", job_id=run["job_id"])
    purge(sql, "a")
    app.commit()
    assert sql.look("select 1 from jobforge.cancel_requests") != []
    sql("upkeep")
    assert sql.look("select 1 from jobforge.cancel_requests") == []


def test_a_purge_waits_two_seconds_for_an_open_transaction_and_holds_up_nobody_for_longer(sql: Sql) -> None:
    held = sql.enqueue("a", queue="other")
    for tenant in "ab":
        sql.enqueue(tenant)
    runs = sql.claim()
    app, worker, admin = sql.connect("jf_app", tenant="a"), sql.connect("jf_worker"), sql.connect("jf_admin")
    call(app, "cancel_job", job_id=held)
    purger = sql.waits(admin, lambda: call(admin, "purge_tenant", tenant_id="a"))
    done = sql.waits(worker, lambda: call(worker, "complete_jobs", results=Json([item(run) for run in runs])))
    with refused("55P03"):
        purger.result(timeout=10)
    admin.rollback()
    assert [row["answer"] for row in done.result(timeout=10)] == ["done", "done"]
    worker.commit()
    app.rollback()


def test_upkeep_passes_over_a_dead_worker_that_is_in_a_heartbeat(sql: Sql) -> None:
    clock = sql.clock()
    sql("heartbeat_jobs", worker_id=sql.worker)
    clock.advance(hours=3)
    worker = sql.connect("jf_worker")
    call(worker, "heartbeat_jobs", worker_id=sql.worker, alive=dt.timedelta(seconds=1))
    clock.advance(hours=3)
    assert {row["step"]: row["moved"] for row in sql("upkeep")}["forgotten"] == 0
    worker.rollback()
    assert {row["step"]: row["moved"] for row in sql("upkeep")}["forgotten"] == 1


def test_a_key_that_comes_with_its_job_behind_the_last_look_of_a_purge_is_kept(sql: Sql) -> None:
    app, admin, locker = sql.connect("jf_app", tenant="a"), sql.connect("jf_admin"), sql.connect("postgres")
    call(app, "enqueue_job", type="t", idempotency_key="k")
    locking = sql.waits(locker, lambda: locker.execute("lock table jobforge.idempotency_keys in share mode"))
    last = sql.waits(admin, lambda: call(admin, "purge_tenant", tenant_id="a"))
    app.commit()
    locking.result(timeout=10)
    locker.rollback()
    assert last.result(timeout=10)[0]["purge_tenant"] == 0
    admin.commit()
    (job,) = sql.look("select id from jobforge.jobs")
    assert sql.enqueue("a", idempotency_key="k") == job["id"]


def test_purges_of_one_tenant_beside_workers_and_enqueues_end_clean(sql: Sql) -> None:
    for tenant in "ab":
        sql.fill(tenant, 200)

    def work() -> None:
        outcomes = ("succeeded", "failed", "released")
        with Sql(sql.database) as own:
            for n in range(40):
                runs = own.claim(worker_id=uuid.uuid4())
                own("complete_jobs", results=Json([item(run, outcomes[n % 3]) for run in runs]))

    def clear() -> None:
        with Sql(sql.database) as own:
            purge(own, "a", 7)

    sql.together([work, work, clear])
    purge(sql, "a")
    assert count(sql, "a") == {}
    assert count(sql, "b")["jobs"] == 200


# --- acting for a tenant -----------------------------------------------------------------------------------


def test_an_administrator_enqueues_for_any_tenant_and_stays_who_it_was(sql: Sql) -> None:
    admin = sql.connect("jf_admin")
    admin.execute("""select set_config('request.jwt.claims', '{"role": "service"}', true)""")
    (row,) = call(admin, "enqueue_job_for", tenant_id="b", type="t", payload={"n": 1}, idempotency_key="k", delay=HOUR)
    assert row["created"] is True
    (again,) = call(admin, "enqueue_job_for", tenant_id="b", type="t", payload={"n": 2}, idempotency_key="k")
    assert (again["id"], again["created"], again["payload_differs"]) == (row["id"], False, True)
    assert call(admin, "current_tenant") == [{"current_tenant": None}]
    assert admin.execute("select current_setting('request.jwt.claims') as it").fetchone() == {
        "it": '{"role": "service"}'
    }
    admin.commit()
    assert (sql.job(row["id"])["tenant_id"], sql.job(row["id"])["state"]) == ("b", "scheduled")


def test_it_does_so_too_in_a_transaction_that_has_a_tenant(sql: Sql) -> None:
    admin = sql.connect("jf_admin", tenant="a")
    call(admin, "enqueue_job_for", tenant_id="b", type="t")
    assert call(admin, "current_tenant") == [{"current_tenant": "a"}]
    call(admin, "enqueue_job", type="t")
    admin.commit()
    assert count(sql, "a")["jobs"] == count(sql, "b")["jobs"] == 1


def test_acting_for_a_tenant_narrows_what_an_administrator_does(sql: Sql) -> None:
    mine, theirs = sql.enqueue("a"), sql.enqueue("b")
    admin = sql.connect("jf_admin")
    call(admin, "act_for", tenant_id="a")
    assert [row["id"] for row in call(admin, "list_jobs")] == [mine]
    assert call(admin, "cancel_job", job_id=theirs) == []
    assert call(admin, "cancel_job", job_id=mine)[0]["state"] == "canceled"
    admin.commit()
    assert len(call(admin, "list_jobs")) == 2


CALLS = [
    "pause_tenant('b')", "resume_tenant('b')", "limit_tenant('b', null)", "list_tenants()", "count_tenant('b')",
    "export_tenant('b')", "purge_tenant('b')", "act_for('b')", "enqueue_job_for('b', 't')",
]  # fmt: skip


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_stranger"])
@pytest.mark.parametrize("statement", CALLS)
def test_only_administrators_may(sql: Sql, user: str, statement: str) -> None:
    with refused("42501"):
        sql.session(user).execute(f"select * from jobforge.{statement}".encode())


@pytest.mark.parametrize("statement", [one.replace("'b'", "{}") for one in CALLS if "'b'" in one])
@pytest.mark.parametrize("tenant", ["''", "null", "repeat('x', 201)"])
def test_what_is_no_tenant_is_refused(sql: Sql, statement: str, tenant: str) -> None:
    with refused("JF003", "1 to 200 characters"):
        sql.session("jf_admin").execute(f"select * from jobforge.{statement.format(tenant)}".encode())


def test_a_tenant_reads_its_own_pause_and_quota_and_no_others(sql: Sql) -> None:
    for tenant in "ab":
        limit(sql, tenant, 5)
    app = sql.connect("jf_app", tenant="a")
    assert [row["name"] for row in app.execute("select * from jobforge.limits").fetchall()] == ["a"]
