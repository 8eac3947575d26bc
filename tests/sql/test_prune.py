"""What has ended leaves when its time is over, and nothing else does."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support import Clock, Row, Sql, call, refused

DAY = dt.timedelta(days=1)
TABLES = ("jobs", "outcomes", "attempts", "results", "idempotency_keys", "unique_keys", "cancel_requests")


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    before = shared.look("select * from jobforge.retention")
    yield shared
    shared.clean()
    shared.session("postgres").execute("truncate jobforge.retention")
    for row in before:
        keep(shared, row["kind"], row["keep"])


@pytest.fixture
def clock(sql: Sql) -> Clock:
    return sql.clock()


def keep(sql: Sql, kind: str, time: dt.timedelta | None, type_: str | None = None) -> None:
    sql("set_retention", user="jf_admin", kind=kind, keep=time, type=type_)


def prune(sql: Sql, *, limit: int = 1000, anew: bool = True) -> dict[str, int]:
    return {row["kind"]: row["pruned"] for row in sql("prune", user="jf_admin", limit=limit, anew=anew)}


def pruned(sql: Sql) -> int:
    return prune(sql)["jobs"]


def ended(sql: Sql, outcome: str = "succeeded", type_: str = "t", **options: Any) -> uuid.UUID:
    job = sql.enqueue(type_=type_, **options)
    run = sql.claim_one(types=[type_])
    assert sql.complete(run, outcome, final=True, error={"type": "X"}, result={"n": 1}) == "done"
    return job


def rows(sql: Sql) -> dict[str, int]:
    return {table: sql.look(f"select count(*) from jobforge.{table}")[0]["count"] for table in TABLES}


def test_each_state_is_kept_for_its_time_from_its_end_on(sql: Sql, clock: Clock) -> None:
    keep(sql, "succeeded", DAY)
    keep(sql, "canceled", 2 * DAY)
    keep(sql, "dead", None)
    waiting = sql.enqueue(type_="other")
    good = sql.enqueue()
    clock.advance(days=30)  # from its end, not from its enqueue
    run = sql.claim_one()
    sql.complete(run)
    gone, dead = ended(sql, "canceled"), ended(sql, "failed")

    clock.advance(days=0.9)
    assert pruned(sql) == 0
    clock.advance(days=0.2)
    assert pruned(sql) == 1
    assert sql("get_job", tenant="a", job_id=good) == []
    assert sql.state(gone) == "canceled"
    clock.advance(days=1)
    assert pruned(sql) == 1
    assert sql("get_job", tenant="a", job_id=gone) == []
    clock.advance(days=10_000)
    assert pruned(sql) == 0
    assert (sql.state(dead), sql.state(waiting)) == ("dead", "queued")


def test_a_job_goes_with_all_that_belongs_to_it_but_its_idempotency_key(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue(idempotency_key="i")
    sql.complete(sql.claim_one(), "failed", delay=0)
    sql.complete(sql.claim_one(), result={"n": 1})
    ended(sql, unique_key="u")
    clock.advance(days=8)
    assert rows(sql) == {
        "jobs": 2, "outcomes": 2, "attempts": 3, "results": 2,
        "idempotency_keys": 1, "unique_keys": 1, "cancel_requests": 0,
    }  # fmt: skip

    assert prune(sql) == {"jobs": 2, "results": 0, "idempotency_keys": 0}
    assert rows(sql) == dict.fromkeys(TABLES, 0) | {"idempotency_keys": 1}
    (again,) = sql("enqueue_job", tenant="a", type="t", payload={"other": 1}, idempotency_key="i")
    assert (again["id"], again["created"], again["payload_differs"]) == (job, False, False)
    (bulk,) = sql("enqueue_jobs", tenant="a", jobs='[{"type": "t", "payload": {"n": 1}, "idempotency_key": "i"}]')
    assert (bulk["id"], bulk["created"], bulk["payload_differs"]) == (job, False, False)
    (unique,) = sql("enqueue_job", tenant="a", type="t", unique_key="u")
    assert unique["created"]


def test_a_type_may_be_kept_for_longer_or_shorter_than_others(sql: Sql, clock: Clock) -> None:
    keep(sql, "succeeded", dt.timedelta(hours=1), "ping")
    keep(sql, "succeeded", None, "audit")
    ping, audit, other = ended(sql, type_="ping"), ended(sql, type_="audit"), ended(sql)

    clock.advance(hours=2)
    assert pruned(sql) == 1
    assert sql("get_job", tenant="a", job_id=ping) == []
    clock.advance(days=7)
    assert pruned(sql) == 1
    assert sql("get_job", tenant="a", job_id=other) == []
    sql("drop_retention", user="jf_admin", kind="succeeded", type="audit")
    assert pruned(sql) == 1
    assert sql("get_job", tenant="a", job_id=audit) == []


def test_a_result_can_leave_before_its_job(sql: Sql, clock: Clock) -> None:
    keep(sql, "result", DAY)
    keep(sql, "result", None, "report")
    job, report = ended(sql), ended(sql, type_="report")
    clock.advance(days=1.1)

    assert prune(sql) == {"jobs": 0, "results": 1, "idempotency_keys": 0}
    assert (sql.job(job)["state"], sql.job(job)["result"]) == ("succeeded", None)
    assert sql.job(report)["result"] == {"n": 1}


def test_an_idempotency_key_is_kept_for_its_own_time_and_until_its_job_has_ended(sql: Sql, clock: Clock) -> None:
    keep(sql, "idempotency_key", DAY)
    done = ended(sql, idempotency_key="done")
    waits = sql.enqueue(idempotency_key="waits", delay=5 * DAY)
    clock.advance(days=2)

    assert prune(sql)["idempotency_keys"] == 1
    (same,) = sql("enqueue_job", tenant="a", type="t", idempotency_key="waits")
    (new,) = sql("enqueue_job", tenant="a", type="t", idempotency_key="done")
    assert (same["id"], same["created"]) == (waits, False)
    assert new["created"]
    assert new["id"] != done


def test_what_is_kept_for_no_time_leaves_at_once(sql: Sql, clock: Clock) -> None:
    for kind in ("succeeded", "idempotency_key"):
        keep(sql, kind, dt.timedelta(0))
    ended(sql, idempotency_key="i")
    clock.advance(seconds=0.01)

    assert prune(sql) == {"jobs": 1, "results": 0, "idempotency_keys": 1}
    assert rows(sql) == dict.fromkeys(TABLES, 0)


def test_without_any_policy_everything_is_kept(sql: Sql, clock: Clock) -> None:
    sql.session("postgres").execute("truncate jobforge.retention")
    ended(sql, idempotency_key="i")
    clock.advance(days=36_000)
    assert prune(sql) == {"jobs": 0, "results": 0, "idempotency_keys": 0}


def test_a_walk_goes_on_where_the_last_call_stopped_and_meets_what_is_kept_once(sql: Sql, clock: Clock) -> None:
    keep(sql, "dead", None)
    jobs = []
    for n in range(14):
        clock.advance(seconds=1)  # their ids have an order
        jobs.append(ended(sql, "failed" if n < 11 else "succeeded"))
    dead, good = jobs[:11], jobs[11:]
    clock.advance(days=8)

    # looks at five times the limit: ten dead; the eleventh and two good; the last one; and the walk is over
    assert [prune(sql, limit=2, anew=n == 0)["jobs"] for n in range(5)] == [0, 2, 1, 0, 0]
    assert [sql.state(job) for job in dead] == ["dead"] * 11
    assert all(sql("get_job", tenant="a", job_id=job) == [] for job in good)


def test_a_walk_that_is_over_begins_again_after_a_minute_or_when_asked(sql: Sql, clock: Clock) -> None:
    assert pruned(sql) == 0
    ended(sql)
    clock.advance(days=7, seconds=30)
    assert prune(sql, anew=False)["jobs"] == 1
    ended(sql)
    keep(sql, "succeeded", dt.timedelta(0))
    clock.advance(seconds=50)
    assert prune(sql, anew=False)["jobs"] == 0
    clock.advance(seconds=20)
    assert prune(sql, anew=False)["jobs"] == 1
    ended(sql)
    clock.advance(seconds=1)
    assert prune(sql, anew=True)["jobs"] == 1


def test_the_upkeep_of_every_worker_prunes(sql: Sql, clock: Clock) -> None:
    ended(sql)
    clock.advance(days=8)
    steps = {row["step"]: row["moved"] for row in sql("upkeep", worker_id=sql.worker)}
    assert steps["pruned"] == 1


def test_two_who_prune_do_not_wait_for_each_other_and_take_nothing_twice(sql: Sql, clock: Clock) -> None:
    for _ in range(3):
        ended(sql, idempotency_key=None)
    clock.advance(days=8)
    with sql.connect("jf_admin") as first:
        call(first, "prune", limit=2, anew=True)
        assert prune(sql)["jobs"] == 0  # the lock_timeout of this session would raise
    assert prune(sql, anew=False)["jobs"] == 1


def test_a_job_whose_result_another_prunes_stays_and_nobody_waits(sql: Sql, clock: Clock) -> None:
    """Two can meet there: the walk through the results may go on while that through the jobs rests, or is another's."""
    job, walk = ended(sql), "select from jobforge.pruning where walk = 'jobs' for update"
    clock.advance(days=8)
    keep(sql, "result", DAY)
    with sql.connect("postgres") as rival, sql.connect("jf_admin") as admin:
        rival.execute(walk)
        assert {row["kind"]: row["pruned"] for row in call(admin, "prune", anew=True)}["results"] == 1
        rival.rollback()
        assert pruned(sql) == 0
        admin.rollback()
    assert sql.job(job)["result"] == {"n": 1}
    assert pruned(sql) == 1
    assert rows(sql) == dict.fromkeys(TABLES, 0)


def test_a_retry_under_way_keeps_its_job_and_one_that_comes_later_finds_none(sql: Sql, clock: Clock) -> None:
    keep(sql, "dead", DAY)
    job, other = ended(sql, "failed"), ended(sql, "failed")
    clock.advance(days=2)
    with sql.connect(tenant="a") as app:
        call(app, "retry_job", job_id=job)
        assert pruned(sql) == 1
        app.commit()
    assert sql.state(job) == "queued"

    job = ended(sql, "failed", type_="later")
    clock.advance(days=2)
    late = sql.connect(tenant="a")
    with sql.connect("jf_admin") as admin:
        call(admin, "prune", anew=True)
        waiting = sql.waits(late, lambda: call(late, "retry_job", job_id=job))
        admin.commit()
        assert waiting.result(10) == []
    assert sql("get_job", tenant="a", job_id=other) == []


def test_a_cancel_that_commits_behind_a_prune_is_taken_away_by_upkeep(sql: Sql, clock: Clock) -> None:
    keep(sql, "succeeded", dt.timedelta(0))
    job = sql.enqueue()
    run = sql.claim_one()
    with sql.connect(tenant="a") as app:
        call(app, "cancel_job", job_id=job)
        assert sql.complete(run) == "done"
        clock.advance(seconds=1)
        assert pruned(sql) == 1
        app.commit()
    assert sql("audit") == [{"job_id": job, "fault": "has a cancel request without a job"}]

    steps = {row["step"]: row["moved"] for row in sql("upkeep", worker_id=sql.worker)}
    assert steps["canceled"] == 1
    assert rows(sql) == dict.fromkeys(TABLES, 0)


def test_an_enqueue_that_holds_the_unique_key_keeps_the_job_for_the_next_walk(sql: Sql, clock: Clock) -> None:
    old = ended(sql, unique_key="u")
    clock.advance(days=8)
    with sql.connect(tenant="a") as app:
        (row,) = call(app, "enqueue_job", type="t", unique_key="u")
        assert row["created"]
        assert pruned(sql) == 0
        app.rollback()
    assert sql.state(old) == "succeeded"
    assert pruned(sql) == 1

    old = ended(sql, unique_key="v")
    clock.advance(days=8)
    app = sql.connect(tenant="a")
    with sql.connect("jf_admin") as admin:
        call(admin, "prune", anew=True)
        waiting = sql.waits(app, lambda: call(app, "enqueue_job", type="t", unique_key="v"))
        admin.commit()
        assert waiting.result(10)[0]["created"]
        app.commit()
    assert sql("get_job", tenant="a", job_id=old) == []


def test_an_enqueue_meets_an_idempotency_key_whole_or_not_at_all(sql: Sql, clock: Clock) -> None:
    keep(sql, "idempotency_key", DAY)
    old = ended(sql, idempotency_key="i")
    clock.advance(days=2)
    app = sql.connect(tenant="a")
    with sql.connect("jf_admin") as admin:
        call(admin, "prune", anew=True)
        waiting = sql.waits(app, lambda: call(app, "enqueue_job", type="t", idempotency_key="i"))
        admin.commit()
        (row,) = waiting.result(10)
        app.commit()
    assert row["created"]
    assert row["id"] != old


def test_jobs_whose_results_another_is_pruning_are_not_waited_for(sql: Sql, clock: Clock) -> None:
    keep(sql, "result", dt.timedelta(hours=1))
    for _ in range(3):
        ended(sql)
    clock.advance(hours=2)
    assert prune(sql, limit=1) == {"jobs": 0, "results": 1, "idempotency_keys": 0}
    with sql.connect("jf_admin") as first:  # the walk of the jobs is over, that of the results goes on
        assert call(first, "prune", limit=1)[1]["pruned"] == 1
        clock.advance(days=7)
        assert prune(sql, anew=False)["jobs"] == 2  # the lock_timeout of this session would raise
    assert prune(sql)["jobs"] == 1


def test_pruning_without_statistics_looks_at_no_more_than_it_has_to(sql: Sql, clock: Clock) -> None:
    """As in a database that was restored a moment ago: to sort all that is old is the cheaper plan on paper."""
    at = "jobforge.now() + n * interval '1 microsecond'"
    made = f"select jobforge.new_job_id({at}) as id, {at} as at from generate_series(1, 20000) n"
    sql.session("postgres").execute(
        f"with made as materialized ({made}), jobs as (insert into jobforge.jobs (id, tenant_id, queue, type, "
        "priority, payload, run_at, max_attempts, created_at) "
        "select id, 'a', 'default', 't', 0, '{}', at, 5, at from made) "
        "insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at) "
        "select id, 'a', 'canceled', 0, 0, 0, at from made".encode()
    )
    clock.advance(days=8)
    with sql.session("postgres").transaction(force_rollback=True):
        (found,) = sql.look("explain (analyze, buffers, format json) select * from jobforge.prune(10, true)")
    plan = found["QUERY PLAN"][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 5000


def test_a_step_meets_what_it_deletes_and_no_more_and_the_last_one_costs_what_the_first_did(
    sql: Sql, clock: Clock
) -> None:
    sql.fill("a", 1000)
    sql("cancel_jobs", tenant="a")
    clock.advance(days=8)
    costs = []
    for step in range(20):
        query = f"explain (analyze, buffers, format json) select * from jobforge.prune(50, {step == 0})"
        (found,) = sql.look(query)
        plan = found["QUERY PLAN"][0]["Plan"]
        costs.append(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
    assert rows(sql)["jobs"] == 0
    assert max(costs[5:]) < 1.3 * costs[-1], costs  # behind which nothing is left to look at


def test_while_a_tenant_is_purged_pruning_waits_for_nobody(sql: Sql, clock: Clock) -> None:
    ended(sql, unique_key="u")
    clock.advance(days=8)
    keep(sql, "result", DAY)
    with sql.connect("jf_admin") as admin:
        call(admin, "purge_tenant", tenant_id="a")
        assert prune(sql) == {"jobs": 0, "results": 0, "idempotency_keys": 0}
        admin.commit()
    assert rows(sql) == dict.fromkeys(TABLES, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "queued", "keep": DAY}, "nothing is kept that is called 'queued'"),
        ({"kind": None, "keep": DAY}, "called NULL"),
        ({"kind": "dead", "keep": dt.timedelta(days=-1)}, "between 0 and 36500 days"),
        ({"kind": "dead", "keep": dt.timedelta(days=40_000)}, "between 0 and 36500 days"),
        ({"kind": "dead", "keep": DAY, "type": ""}, "no job has the type ''"),
        ({"kind": "dead", "keep": DAY, "type": "x" * 101}, "no job has the type"),
    ],
)
def test_a_policy_that_cannot_work_is_refused(sql: Sql, arguments: Row, words: str) -> None:
    with refused("JF003", words):
        sql("set_retention", user="jf_admin", **arguments)


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_pruning_is_for_read_committed(sql: Sql, isolation: str) -> None:
    with sql.connect("jf_admin", isolation=isolation) as admin, refused("JF005"):
        call(admin, "prune")


@pytest.mark.parametrize(
    ("user", "function"),
    [
        ("jf_app", "prune()"),
        *itertools.product(
            ("jf_app", "jf_worker"),
            ("set_retention('dead', '1 day')", "list_retention()", "drop_retention('dead', 't')"),
        ),
    ],
)
def test_only_administrators_say_what_is_kept(sql: Sql, user: str, function: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        sql.session(user).execute(f"select jobforge.{function}".encode())


def test_pruning_reads_the_same_pages_whatever_is_kept_behind(sql: Sql, clock: Clock) -> None:
    """An outcome has no index by time: the walk is in the order of ids, and stops where all is too young."""

    def pages() -> int:
        with sql.session("postgres").transaction(force_rollback=True):
            sql.session("postgres").execute("select * from jobforge.prune(10, true)")  # its plans are made
            (found,) = sql.look("explain (analyze, buffers, format json) select * from jobforge.prune(10, true)")
            plan = json.loads(json.dumps(found["QUERY PLAN"]))[0]["Plan"]
            return int(plan["Shared Hit Blocks"]) + int(plan["Shared Read Blocks"])

    def work_off(count: int) -> None:
        sql.fill("a", count)
        while runs := sql.claim(500):
            results = [
                {"job_id": str(r["job_id"]), "lease_token": str(r["lease_token"]), "outcome": "succeeded"} for r in runs
            ]
            sql("complete_jobs", results=json.dumps(results))

    work_off(50)
    clock.advance(days=8)
    few = pages()
    work_off(5000)
    sql.session("postgres").execute("vacuum analyze jobforge.outcomes, jobforge.jobs, jobforge.attempts")
    assert pages() < few * 1.5 + 30
