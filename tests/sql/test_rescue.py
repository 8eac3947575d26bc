"""Rescue, heartbeats and upkeep: what a dead worker held comes back, and what a live one holds is let alone."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from psycopg.types.json import Json

from tests.support import Row, Sql, call, item, refused

ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)
SECOND = dt.timedelta(seconds=1)


def rescued(sql: Sql, **arguments: Any) -> int:
    (row,) = sql("rescue_expired_jobs", **arguments)
    return int(row["rescue_expired_jobs"])


def beat(sql: Sql, worker: uuid.UUID = ONE, **arguments: Any) -> list[Row]:
    return sql("heartbeat_jobs", worker_id=worker, **arguments)


# --- rescue ------------------------------------------------------------------------------------------------


def test_the_job_of_a_dead_worker_comes_back_uncharged_and_counts_a_crash(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    sql.claim_one()
    clock.advance(seconds=29)
    assert rescued(sql) == 0
    clock.advance(seconds=1)
    assert rescued(sql) == 1
    assert rescued(sql) == 0

    standing = sql.job(job)
    assert (standing["state"], standing["run"], standing["attempt"], standing["crashes"]) == ("queued", 1, 0, 1)
    (attempt,) = sql.attempts(job)
    assert (attempt["outcome"], attempt["error"]["type"]) == ("lost", "WorkerLost")
    run = sql.claim_one(worker_id=TWO)
    assert (run["run"], run["attempt"], run["crashes"]) == (2, 1, 1)


def test_fault_033_a_job_that_kills_five_workers_is_dead_however_many_attempts_it_has(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(max_attempts=1000)
    waits = []
    for n in range(1, 6):
        worker = {"worker_id": uuid.uuid4()}
        run = sql.claim_one(**worker) if n <= 2 else sql.claim_suspect(**worker)
        assert (run["attempt"], run["crashes"]) == (1, n - 1)
        clock.advance(seconds=30)
        assert rescued(sql) == 1
        due = sql.job(job)["due_at"]
        waits.append((due - clock.now()).total_seconds() if due else 0)
        clock.advance(seconds=waits[-1])

    assert sql.state(job) == "dead"
    assert [attempt["outcome"] for attempt in sql.attempts(job)] == ["lost"] * 5
    assert waits[0] == waits[4] == 0  # the first may be anything; then it waits longer each time
    assert all(wait <= waits[n] <= 2 * wait for n, wait in ((1, 1), (2, 2), (3, 4)))


def test_crashes_and_failures_are_counted_apart(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(max_attempts=2)
    sql.claim_one()
    clock.advance(seconds=30)
    rescued(sql)
    sql.complete(sql.claim_one(), "failed", delay=0)

    standing = sql.job(job)
    assert (standing["run"], standing["attempt"], standing["crashes"]) == (2, 1, 0)
    sql.complete(sql.claim_one(), "failed", delay=0)
    assert sql.state(job) == "dead"


def test_a_lease_past_its_deadline_is_timed_out_and_charged_though_the_worker_lives(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(timeout=10 * SECOND, max_attempts=2)
    run = sql.claim_one()
    clock.advance(seconds=69)
    beat(sql, runs=[run["lease_token"]])
    assert rescued(sql) == 0
    clock.advance(seconds=1)
    assert rescued(sql) == 1

    standing = sql.job(job)
    assert (standing["state"], standing["attempt"], standing["crashes"]) == ("scheduled", 1, 0)
    (attempt,) = sql.attempts(job)
    assert (attempt["outcome"], attempt["attempt"], attempt["error"]["type"]) == ("timed_out", 1, "TimedOut")
    clock.advance(seconds=1)
    sql.claim_one()
    clock.advance(seconds=70)
    assert rescued(sql) == 1
    assert sql.state(job) == "dead"


def test_a_worker_that_sends_heartbeats_keeps_its_jobs_for_as_long_as_their_deadline(sql: Sql) -> None:
    clock = sql.clock()
    sql.enqueue()
    run = sql.claim_one()
    for _ in range(10):
        clock.advance(seconds=29)
        assert beat(sql, runs=[run["lease_token"]]) == []
        assert rescued(sql) == 0
    assert sql.complete(run) == "done"


def test_a_worker_that_nobody_knows_is_dead(sql: Sql) -> None:
    job = sql.enqueue()
    sql.claim_one()
    sql.session("postgres").execute("delete from jobforge.workers")

    assert rescued(sql) == 1
    assert sql.state(job) == "queued"


def test_fault_052_rescue_is_bounded(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 5)
    sql.claim(5)
    clock.advance(seconds=30)

    assert [rescued(sql, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_fault_009_rescue_passes_over_a_completion_that_is_under_way(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 2)
    run, other = sql.claim(2)
    clock.advance(seconds=30)
    completing = sql.connect("jf_worker")
    call(completing, "complete_jobs", results=Json([item(run)]))

    assert rescued(sql) == 1
    completing.commit()
    assert sql.state(run["job_id"]) == "succeeded"
    assert sql.state(other["job_id"]) == "queued"


def test_fault_010_a_completion_waits_for_a_rescue_and_is_lost_when_that_commits(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    run = sql.claim_one()
    clock.advance(seconds=30)
    rescuing, completing = sql.connect("jf_worker"), sql.connect("jf_app", tenant="a")
    call(rescuing, "rescue_expired_jobs")
    waiting = sql.waits(completing, lambda: call(completing, "complete_jobs", results=Json([item(run)])))
    rescuing.commit()

    assert waiting.result(5)[0]["answer"] == "lost"
    completing.commit()
    assert sql.state(job) == "queued"
    assert [attempt["outcome"] for attempt in sql.attempts(job)] == ["lost"]


def test_a_completion_waits_for_a_rescue_and_counts_when_that_is_rolled_back(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    run = sql.claim_one()
    clock.advance(seconds=30)
    rescuing, completing = sql.connect("jf_worker"), sql.connect("jf_worker")
    call(rescuing, "rescue_expired_jobs")
    waiting = sql.waits(completing, lambda: call(completing, "complete_jobs", results=Json([item(run)])))
    rescuing.rollback()

    assert waiting.result(5)[0]["answer"] == "done"
    completing.commit()
    assert sql.state(job) == "succeeded"


def test_above_read_committed_a_completion_that_meets_a_rescue_is_40001_and_never_counts(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    run = sql.claim_one()
    handler = sql.connect("jf_app", tenant="a", isolation="repeatable read")
    clock.advance(seconds=30)
    rescued(sql)

    with refused("40001"):
        call(handler, "complete_jobs", results=Json([item(run)]))
    handler.rollback()
    assert sql.state(job) == "queued"


def test_fault_052_many_rescuers_at_once_take_each_lease_once(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 200)
    sql.claim(200)
    clock.advance(seconds=30)
    connections = [sql.connect("jf_worker") for _ in range(6)]

    def rescue(connection: Any) -> int:
        (row,) = call(connection, "rescue_expired_jobs")
        connection.commit()
        return int(row["rescue_expired_jobs"])

    took = sql.together([lambda c=c: rescue(c) for c in connections])  # type: ignore[misc]
    assert sum(took) + rescued(sql) == 200
    assert sql.look("select count(*) as n from jobforge.attempts") == [{"n": 200}]


@pytest.mark.parametrize("user", ["jf_app", "jf_stranger"])
def test_only_workers_and_admins_rescue(sql: Sql, user: str) -> None:
    for function in ("rescue_expired_jobs", "upkeep"):
        with refused("42501"):
            sql(function, user=user)
    assert rescued(sql, user="jf_admin") == 0


# --- heartbeats --------------------------------------------------------------------------------------------


def test_a_heartbeat_hears_of_leases_that_are_lost_and_of_jobs_that_shall_stop(sql: Sql) -> None:
    sql.fill("a", 3)
    fine, wanted, gone = sql.claim(3)
    sql("cancel_job", tenant="a", job_id=wanted["job_id"])
    sql.complete(gone)
    foreign = uuid.uuid4()
    tokens = [run["lease_token"] for run in (fine, wanted, gone)]
    said = {(row["signal"], row["job_id"], row["lease_token"]) for row in beat(sql, runs=[*tokens, foreign])}

    assert said == {
        ("cancel", wanted["job_id"], wanted["lease_token"]),
        ("lost", None, gone["lease_token"]),
        ("lost", None, foreign),
    }


def test_another_workers_lease_is_lost_for_who_names_it(sql: Sql) -> None:
    sql.enqueue()
    run = sql.claim_one(worker_id=ONE)

    assert [row["signal"] for row in beat(sql, TWO, runs=[run["lease_token"]])] == ["lost"]
    assert beat(sql, ONE, runs=[run["lease_token"]]) == []


def test_leases_that_a_worker_does_not_know_of_are_released_uncharged_after_a_while(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 2)
    (known,), (unknown,) = sql.claim(1), sql.claim(1)
    assert beat(sql, runs=[known["lease_token"]]) == []  # its answer may still be on the wire
    clock.advance(seconds=31)
    said = beat(sql, runs=[known["lease_token"]])

    assert said == [{"signal": "released", "job_id": unknown["job_id"], "lease_token": unknown["lease_token"]}]
    standing = sql.job(unknown["job_id"])
    assert (standing["state"], standing["attempt"], standing["crashes"]) == ("queued", 0, 0)
    assert [attempt["outcome"] for attempt in sql.attempts(unknown["job_id"])] == ["released"]
    assert sql.state(known["job_id"]) == "running"
    assert sql.complete(unknown) == "lost"


def test_a_heartbeat_that_does_not_say_what_it_holds_releases_nothing(sql: Sql) -> None:
    clock = sql.clock()
    sql.enqueue()
    run = sql.claim_one()
    clock.advance(minutes=10)

    assert beat(sql) == []
    assert beat(sql, runs=None) == []
    assert sql.complete(run) == "done"


def test_a_heartbeat_that_names_nothing_releases_all_that_is_old(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 3)
    sql.claim(3)
    clock.advance(seconds=31)

    assert [row["signal"] for row in beat(sql, runs=[])] == ["released"] * 3


def test_a_worker_that_takes_leave_with_nothing_is_forgotten(sql: Sql) -> None:
    beat(sql, name="host:1", queues=["q"], types=["t"])
    (row,) = sql.look("select name, queues, types from jobforge.workers")
    assert row == {"name": "host:1", "queues": ["q"], "types": ["t"]}
    beat(sql)
    assert sql.look("select name from jobforge.workers") == [{"name": "host:1"}]
    beat(sql, alive=dt.timedelta(0))

    assert sql.look("select * from jobforge.workers") == []


def test_a_worker_that_takes_leave_with_jobs_has_them_rescued_at_once(sql: Sql) -> None:
    job = sql.enqueue()
    sql.claim_one()
    assert beat(sql, alive=dt.timedelta(0)) == []

    assert rescued(sql) == 1
    assert sql.state(job) == "queued"


def test_a_heartbeat_of_one_run_says_how_it_stands(sql: Sql) -> None:
    sql.enqueue()
    run = sql.claim_one()
    ask = {"job_id": run["job_id"], "lease_token": run["lease_token"]}
    assert sql("heartbeat_job", **ask) == [{"held": True, "cancel_requested": False, "deadline": run["deadline"]}]
    sql("cancel_job", tenant="a", job_id=run["job_id"])
    assert sql("heartbeat_job", **ask)[0]["cancel_requested"] is True
    for wrong in ({"lease_token": uuid.uuid4()}, {"job_id": uuid.uuid4()}, {"lease_token": None}):
        assert sql("heartbeat_job", **ask | wrong) == [{"held": False, "cancel_requested": False, "deadline": None}]


# --- upkeep ------------------------------------------------------------------------------------------------


def test_upkeep_does_all_that_is_due_and_says_how_much(sql: Sql) -> None:
    clock = sql.clock()
    sql.enqueue()
    sql.claim_one()
    due = sql.fill("a", 3, delay="30 seconds")
    later = sql.enqueue(delay=dt.timedelta(minutes=5))
    clock.advance(seconds=30)
    counts = {row["step"]: row["moved"] for row in sql("upkeep", worker_id=TWO)}

    assert counts == {"rescued": 1, "promoted": 3, "resumed": 0, "canceled": 0, "forgotten": 0, "pruned": 0}
    assert {sql.state(job) for job in due} == {"queued"}
    assert sql.state(later) == "scheduled"
    assert {row["moved"] for row in sql("upkeep", worker_id=TWO)} == {0}


def test_upkeep_names_what_it_rescued_twenty_at_most(sql: Sql) -> None:
    clock = sql.clock()
    late = sql.enqueue("b", timeout=10 * SECOND)
    sql.claim_one()
    clock.advance(seconds=69)
    beat(sql)
    dead = sql.fill("a", 21)
    sql.claim(21, worker_id=TWO)
    clock.advance(seconds=1)
    (row,) = [row for row in sql("upkeep") if row["step"] == "rescued"]
    assert row["moved"] == 1
    named = {"job_id": str(late), "tenant_id": "b", "type": "t", "run": 1, "attempt": 1, "outcome": "timed_out"}
    assert row["jobs"] == [named]
    clock.advance(seconds=29)
    rows = {row["step"]: row for row in sql("upkeep")}
    assert rows["rescued"]["moved"] == 21
    assert [job["job_id"] for job in rows["rescued"]["jobs"]] == [str(job) for job in sorted(dead)[:20]]
    assert {(job["outcome"], job["tenant_id"]) for job in rows["rescued"]["jobs"]} == {("lost", "a")}
    assert [row["jobs"] for row in sql("upkeep")] == [None] * 6


def test_upkeep_is_bounded(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 5, delay="1 second")
    clock.advance(seconds=2)

    assert [sql("upkeep", limit=2)[1]["moved"] for _ in range(4)] == [2, 2, 1, 0]


def test_upkeep_forgets_workers_that_are_dead_for_an_hour_and_hold_nothing(sql: Sql) -> None:
    clock = sql.clock()
    beat(sql, ONE)
    sql.enqueue()
    sql.claim_one(worker_id=TWO)
    clock.advance(minutes=59)
    assert sql("upkeep", limit=1)[4] == {"step": "forgotten", "moved": 0, "jobs": None}
    clock.advance(minutes=2)
    beat(sql, uuid.UUID(int=3))
    assert sql("upkeep")[4] == {"step": "forgotten", "moved": 2, "jobs": None}
    assert sql.look("select worker_id from jobforge.workers") == [{"worker_id": uuid.UUID(int=3)}]


def test_a_promotion_that_another_worker_is_doing_is_passed_over(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 2, delay="1 second")
    clock.advance(seconds=1)
    other = sql.connect("jf_worker")
    call(other, "upkeep", limit=1)

    assert sql("upkeep")[1] == {"step": "promoted", "moved": 1, "jobs": None}
    other.commit()
    assert len(sql.claim()) == 2


def test_fault_018_time_is_the_databases_and_a_clock_that_jumps_only_makes_a_rescue_early_or_late(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    first = sql.claim_one()
    clock.advance(minutes=-30)
    assert rescued(sql) == 0
    clock.advance(minutes=40)
    assert rescued(sql) == 1
    second = sql.claim_one(worker_id=TWO)

    assert sql.complete(first) == "lost"
    assert sql.complete(second) == "done"
    assert sql.state(job) == "succeeded"


def test_a_job_that_was_deleted_by_hand_keeps_nobody_from_being_rescued(sql: Sql) -> None:
    clock = sql.clock()
    gone, other = sql.enqueue(), sql.enqueue()
    sql.claim()
    sql.session("postgres").execute("delete from jobforge.jobs where id = %s", [gone])
    clock.advance(minutes=2)
    assert {row["step"]: row["moved"] for row in sql("upkeep")}["rescued"] == 2
    assert sql.state(other) == "queued"
    assert sql("audit") == [{"job_id": gone, "fault": "has an attempt of another tenant or none of its own"}]
    sql.session("postgres").execute("delete from jobforge.attempts where job_id = %s", [gone])
