"""cancel_job, retry_job, reschedule_job: a tenant's hand on its own jobs, also while they are on their way."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from psycopg.types.json import Json

from tests.support import Row, Sql, call, item, refused

HOUR = dt.timedelta(hours=1)


def cancel(sql: Sql, job: uuid.UUID, tenant: str = "a") -> list[Row]:
    return sql("cancel_job", tenant=tenant, job_id=job)


def ended(sql: Sql, outcome: str = "canceled", **options: Any) -> uuid.UUID:
    """A job that has had one run and ended."""
    job = sql.enqueue(**options)
    (run,) = [run for run in sql.claim(100) if run["job_id"] == job]
    sql.complete(run, outcome, final=True, error={"n": 1})
    return job


# --- cancel ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [None, HOUR], ids=["queued", "scheduled"])
def test_a_waiting_job_is_canceled_at_once_and_never_runs(sql: Sql, delay: dt.timedelta | None) -> None:
    clock = sql.clock()
    job = sql.enqueue(delay=delay)
    (said,) = cancel(sql, job)

    assert (said["id"], said["state"], said["finished_at"]) == (job, "canceled", clock.now())
    clock.advance(hours=2)
    assert sql.claim() == []
    assert sql.attempts(job) == []


def test_a_job_that_waits_for_its_retry_is_canceled_with_its_attempts_on_record(sql: Sql) -> None:
    job = sql.enqueue()
    sql.complete(sql.claim_one(), "failed", delay=60)
    (said,) = cancel(sql, job)

    assert (said["state"], said["run"], said["attempt"]) == ("canceled", 1, 1)
    assert len(sql.attempts(job)) == 1


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ("succeeded", "succeeded"),
        ("failed", "canceled"),
        ("timed_out", "canceled"),
        ("snoozed", "canceled"),
        ("released", "canceled"),
        ("canceled", "canceled"),
    ],
)
def test_fault_012_a_running_job_is_told_and_ends_as_canceled_unless_it_succeeds_first(
    sql: Sql, outcome: str, state: str
) -> None:
    job = sql.enqueue()
    run = sql.claim_one()
    for _ in range(2):
        assert cancel(sql, job)[0]["state"] == "running"
    assert sql("heartbeat_jobs", worker_id=sql.worker, runs=[run["lease_token"]])[0]["signal"] == "cancel"
    assert sql.complete(run, outcome, delay=60) == "done"

    assert sql.state(job) == state
    assert [attempt["outcome"] for attempt in sql.attempts(job)] == [outcome]
    assert sql.look("select * from jobforge.cancel_requests") == []


def test_a_canceled_job_whose_worker_died_ends_as_canceled(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    sql.claim_one()
    cancel(sql, job)
    clock.advance(minutes=1)
    sql("rescue_expired_jobs")

    assert sql.state(job) == "canceled"


@pytest.mark.parametrize(
    ("outcome", "state"), [("succeeded", "succeeded"), ("failed", "dead"), ("canceled", "canceled")]
)
def test_a_final_job_stays_as_it_is(sql: Sql, outcome: str, state: str) -> None:
    job = ended(sql, outcome)
    before = sql.job(job)
    (said,) = cancel(sql, job)

    assert said["state"] == state
    assert sql.job(job) == before
    assert sql.look("select * from jobforge.cancel_requests") == []


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "snoozed"])
def test_a_cancel_that_meets_a_completion_under_way_does_not_wait_and_upkeep_makes_it_good(
    sql: Sql, outcome: str
) -> None:
    job = sql.enqueue()
    run = sql.claim_one()
    completing, canceling = sql.connect("jf_worker"), sql.connect("jf_app", tenant="a")
    call(completing, "complete_jobs", results=Json([item(run, outcome, delay=60)]))
    assert call(canceling, "cancel_job", job_id=job)[0]["state"] == "running"
    completing.commit()
    canceling.commit()

    sql("upkeep", user="jf_worker")
    assert sql.state(job) == ("succeeded" if outcome == "succeeded" else "canceled")
    assert sql.look("select * from jobforge.cancel_requests") == []


@pytest.mark.parametrize(("outcome", "state"), [("succeeded", "succeeded"), ("failed", "canceled")])
def test_a_cancel_in_an_open_transaction_holds_up_nobodys_completion(sql: Sql, outcome: str, state: str) -> None:
    """G7: one tenant's idle transaction stood in the way of a batch with the jobs of all the others."""
    job, other = sql.enqueue(), sql.enqueue(tenant="b")
    runs = {run["job_id"]: run for run in sql.claim()}
    canceling = sql.connect("jf_app", tenant="a")
    assert call(canceling, "cancel_job", job_id=job)[0]["state"] == "running"

    completing = sql.connect("jf_worker")
    completing.execute("set lock_timeout = '2s'")
    batch = [item(runs[job], outcome, delay=60), item(runs[other])]
    assert [row["answer"] for row in call(completing, "complete_jobs", results=Json(batch))] == ["done", "done"]
    completing.commit()
    canceling.commit()

    sql("upkeep", user="jf_worker")
    assert (sql.state(job), sql.state(other)) == (state, "succeeded")


def test_upkeep_waits_for_no_tenants_transaction(sql: Sql) -> None:
    job = sql.enqueue()
    run = sql.claim_one()
    completing, canceling = sql.connect("jf_worker"), sql.connect("jf_app", tenant="a")
    call(completing, "complete_jobs", results=Json([item(run, "failed", delay=60)]))
    call(canceling, "cancel_job", job_id=job)
    completing.commit()
    canceling.commit()
    moving = sql.connect("jf_app", tenant="a")
    call(moving, "reschedule_job", job_id=job, delay=HOUR)  # holds the job's row, and its transaction stays open

    assert {row["step"]: row["moved"] for row in sql("upkeep", user="jf_worker")}["canceled"] == 0
    moving.rollback()
    assert {row["step"]: row["moved"] for row in sql("upkeep", user="jf_worker")}["canceled"] == 1
    assert sql.state(job) == "canceled"


def test_a_cancel_that_is_rolled_back_cancels_nothing(sql: Sql) -> None:
    queued = sql.enqueue()
    canceling = sql.connect("jf_app", tenant="a")
    assert call(canceling, "cancel_job", job_id=queued)[0]["state"] == "canceled"
    canceling.rollback()

    assert sql.state(queued) == "queued"


def test_a_cancel_waits_for_a_claim_under_way_and_tells_the_run(sql: Sql) -> None:
    job = sql.enqueue()
    claiming, canceling = sql.connect("jf_worker"), sql.connect("jf_app", tenant="a")
    call(claiming, "claim_jobs", worker_id=sql.worker, queues=["default"], types=["t"])
    waiting = sql.waits(canceling, lambda: call(canceling, "cancel_job", job_id=job))
    claiming.commit()

    assert waiting.result(5)[0]["state"] == "running"
    canceling.commit()
    assert sql.look("select job_id from jobforge.cancel_requests") == [{"job_id": job}]


def test_a_claim_passes_over_a_job_whose_cancel_is_under_way(sql: Sql) -> None:
    job = sql.enqueue()
    canceling = sql.connect("jf_app", tenant="a")
    call(canceling, "cancel_job", job_id=job)

    assert sql.claim() == []
    canceling.commit()
    assert sql.state(job) == "canceled"


def test_a_cancel_waits_for_a_promotion_under_way(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(delay=HOUR)
    clock.advance(hours=1)
    promoting, canceling = sql.connect("jf_worker"), sql.connect("jf_app", tenant="a")
    call(promoting, "upkeep")
    waiting = sql.waits(canceling, lambda: call(canceling, "cancel_job", job_id=job))
    promoting.commit()

    assert waiting.result(5)[0]["state"] == "canceled"
    canceling.commit()
    assert sql.state(job) == "canceled"


def test_a_handler_with_an_old_snapshot_cannot_see_the_cancel_and_upkeep_makes_it_good(sql: Sql) -> None:
    job = sql.enqueue()
    run = sql.claim_one()
    handler = sql.connect("jf_app", tenant="a", isolation="repeatable read")
    cancel(sql, job)
    call(handler, "complete_jobs", results=Json([item(run, "failed", delay=60)]))
    handler.commit()
    assert sql.state(job) == "scheduled"
    counts = {row["step"]: row["moved"] for row in sql("upkeep")}

    assert counts["canceled"] == 1
    assert sql.state(job) == "canceled"
    assert sql.look("select * from jobforge.cancel_requests") == []


def test_a_cancel_of_an_ended_run_does_not_reach_the_job_that_was_brought_back(sql: Sql) -> None:
    job = sql.enqueue()
    run = sql.claim_one()
    handler = sql.connect("jf_app", tenant="a", isolation="repeatable read")
    cancel(sql, job)
    call(handler, "complete_jobs", results=Json([item(run, "failed", final=True)]))  # its snapshot knows no cancel
    handler.commit()
    assert sql.state(job) == "dead"
    sql("retry_job", tenant="a", job_id=job)
    sql("upkeep")

    assert sql.state(job) == "queued"


def test_opposing_cancels_and_completions_leave_each_job_in_one_place(sql: Sql) -> None:
    jobs = sql.fill("a", 60)
    runs = sql.claim(60)

    def complete(connection: Any) -> None:
        for run in runs:
            call(connection, "complete_jobs", results=Json([item(run, "failed", delay=0)]))
            connection.commit()

    def cancel_all(connection: Any) -> None:
        for job in reversed(jobs):
            connection.execute("select set_config('jobforge.tenant_id', 'a', true)")
            call(connection, "cancel_job", job_id=job)
            connection.commit()

    def reclaim(connection: Any) -> None:
        for _ in range(20):
            arguments = {"worker_id": uuid.uuid4(), "queues": ["default"], "types": ["t"]}
            rows = call(connection, "claim_jobs", **arguments)
            connection.commit()
            call(connection, "complete_jobs", results=Json([item(run, "released") for run in rows]))
            connection.commit()

    users = {"jf_worker": [complete, reclaim], "jf_app": [cancel_all, cancel_all]}
    works = [(work, sql.connect(user)) for user, some in users.items() for work in some]
    sql.together([lambda w=work, c=connection: w(c) for work, connection in works])  # type: ignore[misc]
    sql("upkeep")

    assert {sql.state(job) for job in jobs} == {"canceled"}


# --- retry -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["failed", "canceled"])
def test_a_dead_or_canceled_job_comes_back_with_all_its_attempts_and_its_record(sql: Sql, outcome: str) -> None:
    job = ended(sql, outcome, max_attempts=2)
    (said,) = sql("retry_job", tenant="a", job_id=job)
    assert (said["state"], said["run"], said["attempt"], said["crashes"]) == ("queued", 1, 0, 0)
    assert said["finished_at"] is None

    run = sql.claim_one()
    assert (run["run"], run["attempt"]) == (2, 1)
    sql.complete(run, "failed", delay=0)
    assert sql.state(job) == "queued"
    assert sql.complete(sql.claim_one()) == "done"
    assert [attempt["run"] for attempt in sql.attempts(job)] == [1, 2, 3]


def test_a_job_canceled_before_any_run_can_be_brought_back(sql: Sql) -> None:
    job = sql.enqueue()
    cancel(sql, job)
    sql("retry_job", tenant="a", job_id=job)

    assert sql.claim_one()["run"] == 1


def test_two_retries_that_meet_a_cancel_between_them_both_count(sql: Sql) -> None:
    """The outcome that the second waits for goes, and another one has come behind it."""
    job = sql.enqueue()
    sql("cancel_job", tenant="a", job_id=job)
    first, second = sql.connect("jf_app", tenant="a"), sql.connect("jf_app", tenant="a")
    call(first, "retry_job", job_id=job)
    call(first, "cancel_job", job_id=job)
    waiting = sql.waits(second, lambda: call(second, "retry_job", job_id=job))
    first.commit()

    (said,) = waiting.result(10)
    second.commit()
    assert (said["state"], sql.state(job)) == ("queued", "queued")


def test_a_killer_of_workers_that_is_brought_back_has_its_crashes_forgiven(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    for n in range(5):
        claim = sql.claim_one if n < 2 else sql.claim_suspect
        claim(worker_id=uuid.uuid4())
        clock.advance(minutes=1)
        sql("rescue_expired_jobs")
        clock.advance(minutes=1)
    assert sql.state(job) == "dead"

    sql("retry_job", tenant="a", job_id=job)
    assert sql.claim_one()["crashes"] == 0


@pytest.mark.parametrize("state", ["queued", "scheduled", "running", "succeeded"])
def test_only_a_dead_or_canceled_job_can_be_brought_back(sql: Sql, state: str) -> None:
    job = sql.enqueue(delay=HOUR if state == "scheduled" else None)
    if state in ("running", "succeeded"):
        run = sql.claim_one()
        if state == "succeeded":
            sql.complete(run)
    with refused("JF008", "dead or canceled"):
        sql("retry_job", tenant="a", job_id=job)

    assert sql.state(job) == state


def test_two_retries_of_one_job_make_one_run(sql: Sql) -> None:
    job = ended(sql, "failed")
    first, second = sql.connect("jf_app", tenant="a"), sql.connect("jf_app", tenant="a")
    call(first, "retry_job", job_id=job)
    waiting = sql.waits(second, lambda: call(second, "retry_job", job_id=job))
    first.commit()

    with refused("JF008"):
        waiting.result(5)
    assert len(sql.claim()) == 1


def test_a_retry_that_is_rolled_back_leaves_the_job_dead_and_lets_the_next_one_through(sql: Sql) -> None:
    job = ended(sql, "failed")
    first, second = sql.connect("jf_app", tenant="a"), sql.connect("jf_app", tenant="a")
    call(first, "retry_job", job_id=job)
    waiting = sql.waits(second, lambda: call(second, "retry_job", job_id=job))
    first.rollback()

    assert waiting.result(5)[0]["state"] == "queued"
    second.commit()
    assert sql.state(job) == "queued"


# --- reschedule --------------------------------------------------------------------------------------------


def test_a_waiting_job_moves_to_another_time_and_back_to_now(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    at = clock.now() + 2 * HOUR
    for arguments, due in (
        ({"delay": HOUR}, clock.now() + HOUR),
        ({"run_at": at}, at),
        ({}, None),
        ({"run_at": clock.now() - HOUR}, None),
        ({"delay": dt.timedelta(0)}, None),
    ):
        (said,) = sql("reschedule_job", tenant="a", job_id=job, **arguments)
        assert (said["state"], said["due_at"]) == ("queued" if due is None else "scheduled", due)

    assert [run["job_id"] for run in sql.claim()] == [job]


def test_a_rescheduled_job_keeps_its_attempts(sql: Sql) -> None:
    job = sql.enqueue()
    sql.complete(sql.claim_one(), "failed", delay=600)
    sql("reschedule_job", tenant="a", job_id=job)

    run = sql.claim_one()
    assert (run["run"], run["attempt"]) == (2, 2)


@pytest.mark.parametrize("outcome", [None, "succeeded", "failed", "canceled"])
def test_a_running_or_final_job_cannot_be_moved(sql: Sql, outcome: str | None) -> None:
    job = sql.enqueue()
    run = sql.claim_one()
    if outcome:
        sql.complete(run, outcome, final=True)
    before = sql.job(job)
    with refused("JF008", "running or has ended"):
        sql("reschedule_job", tenant="a", job_id=job, delay=HOUR)

    assert sql.job(job) == before


@pytest.mark.parametrize(
    "arguments",
    [
        {"delay": -HOUR},
        {"delay": "11 years"},
        {"delay": "300000 years"},
        {"run_at": "infinity"},
        {"run_at": "-infinity"},
        {"run_at": "9999-01-01"},
        {"run_at": "2100-01-01", "delay": HOUR},
    ],
    ids=str,
)
def test_a_time_that_cannot_be_is_refused_and_the_job_stays(sql: Sql, arguments: Row) -> None:
    job = sql.enqueue()
    with refused("JF003"):
        sql("reschedule_job", tenant="a", job_id=job, **arguments)

    assert sql.state(job) == "queued"


def test_a_reschedule_that_meets_a_claim_under_way_waits_and_is_too_late(sql: Sql) -> None:
    job = sql.enqueue()
    claiming, moving = sql.connect("jf_worker"), sql.connect("jf_app", tenant="a")
    call(claiming, "claim_jobs", worker_id=sql.worker, queues=["default"], types=["t"])
    waiting = sql.waits(moving, lambda: call(moving, "reschedule_job", job_id=job, delay=HOUR))
    claiming.commit()

    with refused("JF008"):
        waiting.result(5)
    assert sql.state(job) == "running"


def test_a_reschedule_that_meets_a_promotion_under_way_waits_and_finds_the_job(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(delay=HOUR)
    clock.advance(hours=1)
    promoting, moving = sql.connect("jf_worker"), sql.connect("jf_app", tenant="a")
    call(promoting, "upkeep")
    waiting = sql.waits(moving, lambda: call(moving, "reschedule_job", job_id=job, delay=HOUR))
    promoting.commit()

    assert waiting.result(5)[0]["state"] == "scheduled"
    moving.commit()
    assert sql.job(job)["due_at"] == clock.now() + HOUR


def test_a_job_brought_back_or_moved_to_now_wakes_its_queue(sql: Sql) -> None:
    moved = sql.enqueue(delay=HOUR, queue="moved")
    canceled = sql.enqueue(delay=HOUR, queue="retried")
    cancel(sql, canceled)
    listener = sql.asleep("moved", "retried")
    sql("reschedule_job", tenant="a", job_id=moved)
    sql("retry_job", tenant="a", job_id=canceled)

    assert [note.payload for note in listener.notifies(timeout=5, stop_after=2)] == ["moved", "retried"]


# --- whose job it is ---------------------------------------------------------------------------------------

CALLS = ["cancel_job", "retry_job", "reschedule_job", "get_job"]


@pytest.mark.parametrize("function", CALLS[:3])
def test_without_a_tenant_nothing_is_changed(sql: Sql, function: str) -> None:
    job = ended(sql, "failed") if function == "retry_job" else sql.enqueue()
    before = sql.job(job)
    for user in ("jf_app", "jf_admin", "postgres"):
        with refused("JF001", "set_config"):
            sql(function, user=user, job_id=job)

    assert sql.job(job) == before


@pytest.mark.parametrize("function", CALLS)
@pytest.mark.parametrize("user", ["jf_worker", "jf_stranger"])
def test_only_app_and_admin_may(sql: Sql, function: str, user: str) -> None:
    with refused("42501"):
        sql(function, user=user, tenant="a", job_id=sql.enqueue())
