"""Jobs with one ordering key run one at a time, in the order of their ids; what may not run is put out of the way."""

from __future__ import annotations

import itertools
import random
import uuid
from collections import defaultdict

import pytest
from psycopg.types.json import Json

from tests.support import Row, Sql, call, item

TWO = uuid.uuid4()


def line(sql: Sql, count: int, key: str = "k", **options: object) -> list[uuid.UUID]:
    jobs = Json([{"type": "t", "ordering_key": key, **options}] * count)
    return [row["id"] for row in sql("enqueue_jobs", tenant="a", jobs=jobs)]


def claimed(sql: Sql, limit: int = 10) -> list[uuid.UUID]:
    return [run["job_id"] for run in sql.claim(limit)]


# --- order -------------------------------------------------------------------------------------------------


def test_jobs_of_a_key_run_one_at_a_time_in_order_and_block_no_other_key(sql: Sql) -> None:
    one, two = line(sql, 3), line(sql, 3, "other")
    free = sql.enqueue("a")
    for n in range(3):
        runs = sql.claim()
        assert {run["job_id"] for run in runs} == {one[n], two[n], *([free] if n == 0 else [])}
        assert claimed(sql) == []
        for run in runs:
            sql.complete(run)
    assert claimed(sql) == []


def test_the_same_key_of_another_tenant_is_another_line(sql: Sql) -> None:
    line(sql, 1)
    sql.enqueue("b", ordering_key="k")
    assert len(sql.claim()) == 2


def test_a_job_that_is_retried_keeps_its_line_waiting_until_it_is_dead(sql: Sql) -> None:
    clock = sql.clock()
    first, second = line(sql, 2, max_attempts=2)
    sql.complete(sql.claim_one(), "failed", delay=60)
    assert claimed(sql) == []
    clock.advance(seconds=61)
    run = sql.claim_one()
    assert run["job_id"] == first
    sql.complete(run, "failed")
    assert sql.state(first) == "dead"
    assert claimed(sql) == [second]


@pytest.mark.parametrize("outcome", ["snoozed", "released"])
def test_a_job_that_comes_back_is_still_the_first(sql: Sql, outcome: str) -> None:
    first, second = line(sql, 2)
    sql.complete(sql.claim_one(), outcome, delay=0)
    run = sql.claim_one()
    assert run["job_id"] == first
    sql.complete(run, "canceled")
    assert claimed(sql) == [second]


def test_a_lost_worker_and_a_cancel_hand_the_line_on(sql: Sql) -> None:
    clock = sql.clock()
    first, second, third = line(sql, 3)
    sql.claim_one()
    assert claimed(sql) == []  # the others stand aside now
    clock.advance(minutes=1)
    sql("upkeep")
    run = sql.claim_one()
    assert run["job_id"] == first
    sql("cancel_job", tenant="a", job_id=second)
    sql.complete(run)
    assert claimed(sql) == [third]


def test_a_head_that_is_canceled_where_it_waits_leaves_its_line(sql: Sql) -> None:
    first, _second = line(sql, 2)
    sql.claim(1)
    assert claimed(sql) == []
    sql("cancel_job", tenant="a", job_id=first)
    assert claimed(sql) == []  # it was asked to stop, and runs
    (late,) = line(sql, 1, "late", delay="1 hour")
    other = line(sql, 1, "late")
    assert claimed(sql) == []
    sql("cancel_job", tenant="a", job_id=late)
    assert claimed(sql) == other


def test_an_earlier_job_that_was_committed_late_waits_for_the_later_one_that_runs(sql: Sql) -> None:
    app = sql.connect("jf_app", tenant="a")
    (row,) = call(app, "enqueue_job", type="t", ordering_key="k")
    later = line(sql, 2)
    run = sql.claim_one()
    assert run["job_id"] == later[0]
    app.commit()
    assert claimed(sql) == []
    sql.complete(run, "failed", delay=3600)  # no end: but nothing of the line runs now
    run = sql.claim_one()
    assert run["job_id"] == row["id"]
    sql.complete(run)
    assert claimed(sql) == []  # the one that is retried comes next


def test_a_dead_job_that_is_brought_back_waits_for_the_one_that_runs_and_is_the_next(sql: Sql) -> None:
    first, second, third = line(sql, 3, max_attempts=1)
    sql.complete(sql.claim_one(), "failed")
    run = sql.claim_one()
    assert run["job_id"] == second
    sql("retry_job", tenant="a", job_id=first)
    assert claimed(sql) == []
    sql.complete(run)
    run = sql.claim_one()
    assert run["job_id"] == first
    sql.complete(run)
    assert claimed(sql) == [third]


def test_two_claims_of_one_line_at_once_give_one_run(sql: Sql) -> None:
    """An earlier job is committed while a claim of the later one is not yet: both are heads, to those who look."""
    app = sql.connect("jf_app", tenant="a")
    (row,) = call(app, "enqueue_job", type="t", ordering_key="k")
    line(sql, 1)
    first, second = sql.connect("jf_worker"), sql.connect("jf_worker")
    claim = {"queues": ["default"], "types": ["t"], "limit": 10}
    (run,) = call(first, "claim_jobs", worker_id=sql.worker, **claim)
    app.commit()
    waiting = sql.waits(second, lambda: call(second, "claim_jobs", worker_id=TWO, **claim))
    first.commit()
    assert waiting.result(timeout=10) == []
    second.commit()
    sql.complete(run)
    assert claimed(sql) == [row["id"]]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read"])
def test_no_job_is_forgotten_when_its_turn_comes_while_a_claim_puts_it_aside(sql: Sql, isolation: str) -> None:
    line(sql, 1)
    run = sql.claim_one()
    (second,) = line(sql, 1)
    ending = sql.connect("jf_app", tenant="a", isolation=isolation)
    ending.execute("select 1")
    claim = sql.connect("jf_worker")
    assert call(claim, "claim_jobs", worker_id=TWO, queues=["default"], types=["t"], limit=10) == []  # not committed
    call(ending, "complete_jobs", results=Json([item(run)]))
    ending.commit()
    assert claimed(sql) == []  # it sees the turn, and nobody to take it
    claim.commit()
    assert claimed(sql) == [second]


def test_a_head_that_somebody_holds_keeps_its_turn(sql: Sql) -> None:
    _, second = line(sql, 2, unique_key=None)
    run = sql.claim_one()
    assert claimed(sql) == []
    holder = sql.connect("postgres")
    holder.execute("select from jobforge.ready where job_id = %s for update", [second])
    sql.complete(run)
    assert claimed(sql) == []
    holder.rollback()
    assert claimed(sql) == [second]


def test_heads_that_an_open_transaction_holds_do_not_stand_before_other_lines(sql: Sql) -> None:
    jobs = Json([{"type": "t", "ordering_key": f"k{n}"} for n in range(1100)])
    sql("enqueue_jobs", tenant="a", jobs=jobs)
    first = sql.claim(2000)
    sql("enqueue_jobs", tenant="a", jobs=jobs)
    assert [claimed(sql, 2000) for _ in range(3)] == [[], [], []]
    holder = sql.connect("jf_app", tenant="a")
    assert call(holder, "cancel_jobs", limit=2000, state="queued")[0]["changed"] == 1100
    sql("complete_jobs", results=Json([item(run) for run in first]))
    sql("enqueue_jobs", tenant="b", jobs=Json([{"type": "t", "ordering_key": "k"}] * 2))
    sql.complete(sql.claim_one())
    # turns are looked at from a random page on: the first claim may have it
    assert any(claimed(sql) for _ in range(21))


def test_a_job_deleted_by_hand_keeps_nobody(sql: Sql) -> None:
    first, second = line(sql, 2)
    owner = sql.connect("postgres")
    for table, column in (("ready", "job_id"), ("jobs", "id")):
        owner.execute(f"delete from jobforge.{table} where {column} = %s".encode(), [first])
    owner.commit()
    assert claimed(sql) == [second]
    owner.execute("delete from jobforge.lines where job_id = %s", [first])
    owner.commit()


def test_racing_workers_keep_every_line_in_order(sql: Sql) -> None:
    """What is on record afterwards: of each line no run began before the one before it had ended, in order of ids."""
    keys = [f"k{n}" for n in range(6)]
    lines = {key: line(sql, 12, key, max_attempts=20) for key in keys}

    def work(n: int) -> None:
        rng, worker = random.Random(n), uuid.uuid4()
        connection = sql.connect("jf_worker")
        connection.autocommit = True
        given = {"worker_id": worker, "queues": ["default"], "types": ["t"]}
        for _ in range(400):
            runs = call(connection, "claim_jobs", **given, limit=rng.choice([1, 2, 10]))
            for run in runs:
                outcome = rng.choice(["succeeded", "succeeded", "failed", "released"])
                call(connection, "complete_jobs", results=Json([item(run, outcome, delay=0)]))
            if not runs and not sql.look("select from jobforge.lines"):
                return

    sql.together([lambda n=n: work(n) for n in range(6)])  # type: ignore[misc]
    while runs := sql.claim():
        for run in runs:
            sql.complete(run)
    rows = sql.look(
        "select j.ordering_key, a.job_id, a.run, a.claimed_at, a.finished_at, a.outcome from jobforge.attempts a "
        "join jobforge.jobs j on j.id = a.job_id order by j.ordering_key, a.claimed_at"
    )
    runs_of: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        runs_of[row["ordering_key"]].append(row)
    for key, ran in runs_of.items():
        assert list(dict.fromkeys(row["job_id"] for row in ran)) == lines[key]
        assert all(one["finished_at"] <= next_["claimed_at"] for one, next_ in itertools.pairwise(ran))
        assert all(a["job_id"] == b["job_id"] or a["outcome"] == "succeeded" for a, b in itertools.pairwise(ran))


# --- aside -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 7, 100])
def test_a_claim_reaches_its_jobs_behind_those_of_types_it_does_not_know(sql: Sql, limit: int) -> None:
    strange = [sql.enqueue("a", f"s{n % 3}") for n in range(30)]
    mine = [sql.enqueue("a") for _ in range(3)]
    assert claimed(sql, limit) == mine[:limit]
    got = [run["job_id"] for run in sql.claim(100, types=["s0", "s1", "s2"])]
    assert got == strange  # nothing is lost, and their order is kept across their lanes


def test_what_stands_aside_and_what_comes_later_keep_their_order(sql: Sql) -> None:
    old = sql.enqueue("a", "other")
    assert claimed(sql) == []
    new, urgent = sql.enqueue("a", "other"), sql.enqueue("a", "other", priority=-1)
    assert [run["job_id"] for run in sql.claim(types=["other", "t"])] == [urgent, old, new]


def test_a_job_that_stands_aside_is_found_canceled_and_moved_as_any(sql: Sql) -> None:
    jobs = [sql.enqueue("a", "other") for _ in range(3)]
    assert claimed(sql) == []
    assert {sql.state(job) for job in jobs} == {"queued"}
    sql("cancel_job", tenant="a", job_id=jobs[0])
    sql("reschedule_job", tenant="a", job_id=jobs[1], delay="1 hour")
    assert [sql.state(job) for job in jobs] == ["canceled", "scheduled", "queued"]
    assert [run["job_id"] for run in sql.claim(types=["other"])] == [jobs[2]]


def test_tenants_share_evenly_across_lanes(sql: Sql) -> None:
    for tenant in "abc":
        for n in range(20):
            sql.enqueue(tenant, "one" if n % 2 else "two")
    assert claimed(sql) == []
    got = [run["tenant_id"] for run in sql.claim(30, types=["one", "two"])]
    assert {tenant: got.count(tenant) for tenant in "abc"} == {"a": 10, "b": 10, "c": 10}


def test_many_paused_tenants_are_put_aside_and_come_back(sql: Sql) -> None:
    names = [f"p{n:03}" for n in range(150)]
    for name in names:
        sql.fill(name, 2)
        sql("pause_tenant", user="jf_admin", tenant_id=name)
    last = sql.enqueue("z")
    assert claimed(sql) == [last]
    aside = sql.look("select count(*) as n from jobforge.ready where lane = '!stopped'")[0]["n"]
    assert 50 <= aside <= 300
    sql("resume_tenant", user="jf_admin", tenant_id=names[-1])
    for name in names[:-1]:  # as many hands that do not know of each other would, and without the functions' help
        sql.session("postgres").execute("delete from jobforge.limits where name = %s", [name])
    sql("upkeep")
    assert sql.look("select count(*) as n from jobforge.ready where lane = '!stopped'")[0]["n"] == 0
    assert len(sql.claim(1000)) == 300


def test_jobs_of_stopped_tenants_come_back_from_any_queue_however_many_there_are(sql: Sql) -> None:
    sql("enqueue_jobs", tenant="z", jobs=Json([{"type": "t", "queue": f"a{n:03}"} for n in range(205)]))
    for n in range(25):
        sql.enqueue(f"p{n:02}", queue="q")
        sql("pause_tenant", user="jf_admin", tenant_id=f"p{n:02}")
    assert sql.claim(100, queues=["q"]) == []
    assert {row["lane"] for row in sql.look("select lane from jobforge.ready where queue = 'q'")} == {"!stopped"}
    sql("resume_tenant", user="jf_admin", tenant_id="p07")
    assert [run["tenant_id"] for run in sql.claim(100, queues=["q"])] == ["p07"]
    sql.session("postgres").execute("delete from jobforge.limits")
    sql("upkeep")
    assert len(sql.claim(100, queues=["q"])) == 24


def test_claims_without_a_cursor_begin_anywhere_also_where_all_jobs_stand_aside(sql: Sql) -> None:
    for tenant in "abc":
        sql.fill(tenant, 40, type="other")
    assert claimed(sql) == []
    sql.session("postgres").execute(  # of another type: they say nothing of this lane
        "insert into jobforge.heads values ('default', 'third', 'a', 0, gen_random_uuid(), now())"
    )
    got = [run["tenant_id"] for _ in range(40) for run in sql.claim(1, types=["other"])]
    assert {tenant for tenant in "abc" if got.count(tenant) > 2} == set("abc")
