"""Suspects: jobs that have lost their last two workers wait apart, and are given to a worker that runs nothing else."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from tests.support import Clock, Row, Sql, call, refused

TWO = uuid.UUID(int=2)
SECOND = dt.timedelta(seconds=1)


def lose(sql: Sql, clock: Clock, **options: Any) -> Row:
    """Have the only job claimed by a worker that dies, wherever it waits; it is due again."""
    (run,) = sql.claim(**options) or sql.suspects(**options)
    clock.advance(seconds=30)
    sql("rescue_expired_jobs")
    clock.advance(seconds=8)
    return run


def accuse(sql: Sql, crashes: int = 2) -> None:
    """Say of all waiting jobs that they have lost so many workers; quicker than to lose them."""
    sql.session("postgres").execute("update jobforge.ready set crashes = %s", [crashes])


def waits(sql: Sql, queues: list[str] | None = None, types: list[str] | None = None) -> bool:
    (row,) = sql("has_suspect", queues=queues or ["default"], types=types or ["t"])
    return bool(row["has_suspect"])


# --- who is one ----------------------------------------------------------------------------------------------


def test_a_job_that_lost_its_last_two_workers_is_passed_over_by_claims_and_given_alone(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(payload={"n": 1})
    first = lose(sql, clock)
    assert not waits(sql)
    lose(sql, clock)
    other = sql.enqueue()

    assert [run["job_id"] for run in sql.claim(10)] == [other]
    assert waits(sql)
    assert (sql.state(job), sql.job(job)["crashes"]) == ("queued", 2)
    run = sql.claim_suspect()
    assert run.keys() == first.keys()
    assert (run["job_id"], run["payload"], run["run"], run["attempt"], run["crashes"]) == (job, '{"n": 1}', 3, 1, 2)
    assert (sql.state(job), sql.suspects(), waits(sql)) == ("running", [], False)
    assert sql.complete(run) == "done"


def test_the_fifth_crash_is_death_and_three_of_them_were_alone(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(max_attempts=1000)
    for _ in range(2):
        sql.claim_one()
        clock.advance(seconds=30)
        sql("rescue_expired_jobs")
        clock.advance(seconds=8)
    for n in range(2, 5):
        assert sql.claim() == []
        assert sql.claim_suspect()["crashes"] == n
        clock.advance(seconds=30)
        sql("rescue_expired_jobs")
        clock.advance(seconds=8)

    assert (sql.state(job), sql.job(job)["crashes"], sql.job(job)["attempt"]) == ("dead", 5, 0)
    assert [(run["outcome"], run["error"]["type"]) for run in sql.attempts(job)] == [("lost", "WorkerLost")] * 5


@pytest.mark.parametrize(
    ("outcome", "delay", "left"),
    [("failed", 0, 0), ("timed_out", 0, 0), ("snoozed", 0, 0), ("snoozed", 5, 0), ("failed", 5, 0), ("released", 0, 2),
     ("released", 5, 2)],
)  # fmt: skip
def test_a_run_that_came_to_its_end_clears_a_suspect_and_one_that_was_given_back_does_not(
    sql: Sql, outcome: str, delay: int, left: int
) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    lose(sql, clock)
    lose(sql, clock)
    assert sql.complete(sql.claim_suspect(), outcome, delay=delay) == "done"

    assert sql.job(job)["crashes"] == left
    clock.advance(seconds=delay)
    assert len(sql.claim()) == (0 if left else 1)
    assert len(sql.suspects()) == (1 if left else 0)


def test_a_lease_past_its_deadline_clears_nobody(sql: Sql) -> None:
    """Nobody knows whether its worker is stuck or dead."""
    clock = sql.clock()
    job = sql.enqueue(timeout=10 * SECOND)
    lose(sql, clock)
    lose(sql, clock)
    run = sql.claim_suspect()
    clock.advance(seconds=70)
    sql("heartbeat_jobs", worker_id=sql.worker, runs=[run["lease_token"]])
    sql("rescue_expired_jobs")

    assert (sql.attempts(job)[-1]["outcome"], sql.job(job)["crashes"]) == ("timed_out", 2)


def test_an_answer_that_was_lost_on_the_wire_clears_nobody(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    lose(sql, clock)
    lose(sql, clock)
    sql.claim_suspect()
    clock.advance(seconds=31)
    (said,) = sql("heartbeat_jobs", worker_id=sql.worker, runs=[])

    assert (said["signal"], sql.state(job), sql.job(job)["crashes"]) == ("released", "queued", 2)
    assert sql.claim_suspect()["job_id"] == job


@pytest.mark.parametrize(("outcome", "state"), [("succeeded", "succeeded"), ("canceled", "canceled")])
def test_what_was_counted_stays_with_a_job_that_has_ended(sql: Sql, outcome: str, state: str) -> None:
    job = sql.enqueue()
    accuse(sql, 3)
    sql.complete(sql.claim_suspect(), outcome)

    assert (sql.state(job), sql.job(job)["crashes"]) == (state, 3)


# --- who gets it -----------------------------------------------------------------------------------------------


def test_one_suspect_is_given_at_a_time_and_two_workers_never_get_the_same(sql: Sql) -> None:
    jobs = sql.fill("a", 3)
    accuse(sql)
    first = sql.connect("jf_worker")
    arguments: dict[str, Any] = {"queues": ["default"], "types": ["t"]}
    (one,) = call(first, "claim_suspect", worker_id=TWO, **arguments)
    (two,) = sql.suspects()  # passes over what the other is claiming, and waits for nobody
    first.commit()
    (three,) = sql.suspects()

    assert [run["job_id"] for run in (one, two, three)] == jobs
    assert sql.suspects() == []


def test_only_of_the_queues_and_types_that_the_worker_has_and_of_no_paused_tenant(sql: Sql) -> None:
    sql.enqueue(queue="other")
    sql.enqueue(type_="u")
    sql.enqueue(tenant="p")
    accuse(sql)
    sql("pause_tenant", user="jf_admin", tenant_id="p")

    assert (sql.suspects(), waits(sql)) == ([], False)
    assert waits(sql, ["other"])
    assert waits(sql, ["default", "other"])
    assert waits(sql, None, ["u"])
    sql("resume_tenant", user="jf_admin", tenant_id="p")
    assert waits(sql)
    assert sql.claim_suspect()["tenant_id"] == "p"


def test_what_is_due_is_promoted_first_and_the_worker_lives(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    lose(sql, clock)
    sql.claim_one()
    clock.advance(seconds=30)
    sql("rescue_expired_jobs")
    assert (sql.state(job), waits(sql)) == ("scheduled", False)
    clock.advance(seconds=2)

    assert sql.claim_suspect(worker_id=TWO, alive=60 * SECOND)["job_id"] == job
    (worker,) = sql.look("select alive_until from jobforge.workers where worker_id = %s", TWO)
    assert worker["alive_until"] == clock.now() + 60 * SECOND


def test_a_tenant_full_of_suspects_does_not_stand_before_another(sql: Sql) -> None:
    sql.fill("a", 100)
    sql.fill("b", 1)
    accuse(sql)

    seen = set()
    for _ in range(40):  # by chance: not to meet b in so many looks happens once in 10^12
        run = sql.claim_suspect()
        seen.add(run["tenant_id"])
        sql.complete(run, "released")
    assert seen == {"a", "b"}


def test_it_is_refused_above_read_committed_to_others_than_workers_and_with_bad_arguments(sql: Sql) -> None:
    arguments: dict[str, Any] = {"worker_id": sql.worker, "queues": ["default"], "types": ["t"]}
    for isolation in ("repeatable read", "serializable"):
        with refused("JF005"):
            call(sql.connect("jf_worker", isolation=isolation), "claim_suspect", **arguments)
    for user in ("jf_app", "jf_admin", "jf_stranger"):
        for function, given in (("claim_suspect", arguments), ("has_suspect", {"queues": ["default"], "types": ["t"]})):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                sql(function, user=user, **given)
    for wrong in ({"worker_id": None}, {"queues": None}, {"types": None}, {"alive": 0 * SECOND}):
        with refused("JF003"):
            sql.suspects(**wrong)


# --- a tenant's hand -------------------------------------------------------------------------------------------


def test_a_suspect_that_waits_in_line_keeps_no_other_and_nobody_makes_way_for_it(sql: Sql) -> None:
    """One before it was brought back, and is retried in a day."""
    clock = sql.clock()
    dead = sql.enqueue(ordering_key="k", max_attempts=1)
    sql.complete(sql.claim_one(), "failed")
    jobs = []
    for key in ("k", None):
        clock.advance(seconds=1)
        jobs.append(sql.enqueue(ordering_key=key))
    for _ in range(2):
        assert len(sql.claim()) == 2
        clock.advance(minutes=7)
        sql("upkeep")
        clock.advance(minutes=7)
        sql("upkeep")
    sql("retry_job", tenant="a", job_id=dead)
    sql("reschedule_job", tenant="a", job_id=dead, delay="1 day")
    assert waits(sql)
    assert sql.claim_suspect()["job_id"] == jobs[1]
    assert (sql.suspects(), waits(sql)) == ([], False)


def test_a_suspect_can_be_canceled_moved_and_brought_back_as_any_job(sql: Sql) -> None:
    sql.clock()
    job = sql.enqueue()
    accuse(sql)
    (said,) = sql("reschedule_job", tenant="a", job_id=job, delay=60 * SECOND)
    assert (said["state"], said["crashes"]) == ("scheduled", 2)
    (said,) = sql("reschedule_job", tenant="a", job_id=job)
    assert (said["state"], said["crashes"], sql.claim(), waits(sql)) == ("queued", 2, [], True)
    (said,) = sql("cancel_job", tenant="a", job_id=job)
    assert (said["state"], said["crashes"], waits(sql)) == ("canceled", 2, False)
    (said,) = sql("retry_job", tenant="a", job_id=job)

    assert (said["state"], said["crashes"]) == ("queued", 0)
    assert sql.claim_one()["job_id"] == job


def test_a_late_cancel_finds_a_suspect(sql: Sql) -> None:
    job = sql.enqueue()
    accuse(sql)
    run = sql.claim_suspect()
    late = sql.connect("jf_app", tenant="a")
    call(late, "cancel_job", job_id=job)
    sql.complete(run, "released")
    late.commit()
    assert sql.state(job) == "queued"
    sql("upkeep")

    assert sql.state(job) == "canceled"


def test_suspects_are_seen_counted_and_purged(sql: Sql) -> None:
    jobs = sql.fill("a", 2)
    accuse(sql)
    assert [row["id"] for row in sql("list_jobs", tenant="a", state="queued")] == jobs[::-1]
    sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 2})
    with refused("JF007"):
        sql.enqueue()
    (row,) = sql("purge_tenant", user="jf_admin", tenant_id="a")

    assert row["purge_tenant"] == 2
    assert sql.look("select * from jobforge.ready") == []


# --- what it costs ---------------------------------------------------------------------------------------------


def pages(sql: Sql, query: str) -> int:
    (row,) = sql.look(f"explain (analyze, buffers, format json) {query}")
    plan = row["QUERY PLAN"][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_claims_cost_the_same_with_10000_suspects_before_them(sql: Sql) -> None:
    claim = "select * from jobforge.claim_jobs(gen_random_uuid(), '{default}', '{t}', 10, null, array[''])"
    alone = "select * from jobforge.claim_suspect(gen_random_uuid(), '{default}', '{t}')"
    look = "select jobforge.has_suspect('{default}', '{t}')"
    sql.fill("z", 200)
    before = [pages(sql, claim) for _ in range(8)][-1]
    many = Json([{"type": "t", "priority": -100}] * 100)
    for n in range(100):
        sql("enqueue_jobs", tenant="z" if n < 50 else f"t{n}", jobs=many)
    sql.session("postgres").execute("analyze jobforge.ready")
    accuse(sql)
    sql.session("postgres").execute("vacuum jobforge.ready")  # of the dead rows of that update
    sql.fill("z", 200)

    assert [pages(sql, claim) for _ in range(8)][-1] <= before + 30  # the index has become a level higher
    assert [pages(sql, alone) for _ in range(8)][-1] < 100
    assert [pages(sql, look) for _ in range(8)][-1] < 20
