"""Why a job does not run, or how it came to its end: the first row is the answer."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support import Clock, Sql, call

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def clock(sql: Sql) -> Clock:
    return sql.clock()


def why(sql: Sql, job: uuid.UUID, tenant: str = "a") -> dict[str, str]:
    return {row["code"]: row["says"] for row in sql("why_job", tenant=tenant, job_id=job)}


def beat(sql: Sql, **options: Any) -> None:
    sql("heartbeat_jobs", worker_id=sql.worker, **{"queues": ["default"], "types": ["t"]} | options)


def failed(sql: Sql, outcome: str = "failed", **more: object) -> None:
    sql.complete(sql.claim_one(), outcome, error={"type": "Boom", "message": "it broke"}, **more)


def test_a_queued_job_without_a_live_worker_says_so_and_when_there_was_one(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue()
    assert why(sql, job) == {
        "no_worker": "no live worker works on the queue default",
        "next": "it is the next of its tenant in this queue",
    }
    beat(sql)
    clock.advance(minutes=1)
    assert "the last one lived until 20" in why(sql, job)["no_worker"]
    beat(sql, queues=["other"])
    assert "no_worker" in why(sql, job)


def test_a_type_that_no_live_worker_knows_is_named(sql: Sql) -> None:
    job = sql.enqueue()
    beat(sql, types=["other"])
    assert why(sql, job)["unknown_type"] == "of the live workers of its queue (1) none knows the type t"
    beat(sql)
    assert why(sql, job) == {"next": "it is the next of its tenant in this queue; workers that know its type: 1"}


def test_a_worker_that_does_not_say_what_it_works_on_might_do_anything(sql: Sql) -> None:
    job = sql.enqueue()
    sql("heartbeat_jobs", worker_id=sql.worker)
    assert set(why(sql, job)) == {"next"}


def test_what_comes_before_it_is_counted_in_its_own_order(sql: Sql) -> None:
    beat(sql)
    sql.fill("a", 3)
    sql.fill("a", 2, priority=5)
    sql.fill("b", 7)
    sql.fill("a", 9, queue="other")
    job = sql.enqueue(priority=4)
    assert why(sql, job)["behind"].startswith("3 jobs of its tenant come first in this queue; workers that know")
    urgent = sql.enqueue(priority=-1)
    assert "next" in why(sql, urgent)


def test_a_paused_tenant_is_the_first_reason(sql: Sql) -> None:
    beat(sql)
    job = sql.enqueue()
    sql("pause_tenant", user="jf_admin", tenant_id="a")
    reasons = sql("why_job", tenant="a", job_id=job)
    assert [row["code"] for row in reasons] == ["tenant_paused", "next"]
    assert reasons[0]["detail"]["paused_at"]


def test_who_waits_in_line_is_not_the_next(sql: Sql) -> None:
    beat(sql)
    _first, second, third = (sql.enqueue(ordering_key="account") for _ in range(3))
    assert [list(why(sql, job)) for job in (second, third)] == [["in_line"]] * 2
    failed(sql, delay=0)  # that claim has put the others aside
    assert [list(why(sql, job)) for job in (second, third)] == [["in_line"]] * 2
    sql.complete(sql.claim_one())
    sql.claim_one()
    assert [list(why(sql, job)) for job in (second, third)] == [["running"], ["in_line"]]


def test_a_quota_is_a_limit_that_keeps_no_job_from_running(sql: Sql) -> None:
    beat(sql)
    sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 2})
    queued, later = sql.enqueue(), sql.enqueue(delay=HOUR)
    assert list(why(sql, queued)) == ["next", "quota"]
    assert list(why(sql, later)) == ["delayed", "quota"]
    assert why(sql, queued)["quota"] == "its tenant may have 2 waiting jobs: more are refused"


def test_a_job_for_later_says_what_would_keep_it_back_then(sql: Sql) -> None:
    job = sql.enqueue(delay=HOUR)
    beat(sql, types=["other"])
    assert list(why(sql, job)) == ["delayed", "unknown_type"]
    sql("pause_tenant", user="jf_admin", tenant_id="a")
    assert list(why(sql, job)) == ["delayed", "tenant_paused", "unknown_type"]


def test_attempts_are_told_wherever_the_job_stands(sql: Sql) -> None:
    job = sql.enqueue(max_attempts=3)
    failed(sql, delay=3600)
    beat(sql)
    assert why(sql, job)["retry"].endswith(", as attempt 2 of 3")
    sql("reschedule_job", tenant="a", job_id=job)
    assert why(sql, job)["next"].endswith("; it has used 1 of 3 attempts")
    sql.claim_one()
    assert ", as attempt 2 of 3; its worker, up since 20" in why(sql, job)["running"]


def test_a_suspect_says_that_it_runs_alone(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue()
    for _ in range(2):
        sql.claim_one()
        clock.advance(minutes=2)
        sql("upkeep")
        clock.advance(minutes=2)
    sql("upkeep")
    beat(sql)
    reasons = why(sql, job)
    assert list(reasons) == ["suspect", "next", "last_run"]
    assert reasons["suspect"].startswith("it has lost its last 2 workers: it runs alone")
    assert reasons["last_run"] == "run 2 ended as lost: WorkerLost: the worker stopped sending heartbeats"


@pytest.mark.parametrize(
    ("outcome", "delay", "code", "words"),
    [
        ("failed", 60, "retry", "it is retried at 20"),
        ("timed_out", 60, "retry", "it is retried at 20"),
        ("snoozed", 60, "snoozed", "its last run put it off until 20"),
        ("released", 60, "released", "its last run put it off until 20"),
    ],
)
def test_a_scheduled_job_says_what_it_waits_for(sql: Sql, outcome: str, delay: int, code: str, words: str) -> None:
    job = sql.enqueue()
    failed(sql, outcome, delay=delay)
    beat(sql)
    reasons = why(sql, job)
    assert list(reasons) == [code, "last_run"]
    assert reasons[code].startswith(words)
    assert reasons["last_run"] == f"run 1 ended as {outcome}: Boom: it broke"


def test_a_job_for_later_says_when_and_one_that_is_overdue_who_queues_it(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue(delay=HOUR)
    assert why(sql, job)["delayed"].startswith("it was enqueued for 20")
    assert "no_worker" in why(sql, job)
    beat(sql)
    assert set(why(sql, job)) == {"delayed"}
    clock.advance(hours=2)
    beat(sql)
    assert list(why(sql, job)) == ["overdue"]


def test_a_running_job_says_how_its_worker_is(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue(timeout=dt.timedelta(minutes=10))
    sql.claim_one()
    assert list(why(sql, job)) == ["running"]
    (reason,) = sql("why_job", tenant="a", job_id=job)
    assert reason["says"].endswith(f"its lease ends at {clock.now() + dt.timedelta(minutes=11):%Y-%m-%d %H:%M:%S} UTC")
    assert reason["detail"]["started_at"].startswith(f"{clock.now():%Y-%m-%dT%H:%M:%S}")
    sql("cancel_job", tenant="a", job_id=job)
    assert list(why(sql, job)) == ["running", "cancel_requested"]
    clock.advance(minutes=1)
    assert why(sql, job)["worker_lost"].startswith("its worker has not been heard of since 20")
    clock.advance(minutes=20)
    assert list(why(sql, job)) == ["worker_lost", "past_deadline", "cancel_requested"]


def test_what_has_ended_says_how(sql: Sql, clock: Clock) -> None:
    good = sql.enqueue()
    sql.complete(sql.claim_one())
    assert why(sql, good) == {"succeeded": "it succeeded in run 1, at attempt 1 of 5"}

    tried = sql.enqueue(max_attempts=2)
    failed(sql, delay=0)
    failed(sql)
    assert why(sql, tried)["attempts_used"] == "all its 2 attempts have failed"
    assert why(sql, tried)["last_run"] == "run 2 ended as failed: Boom: it broke"

    hopeless = sql.enqueue()
    failed(sql, final=True)
    assert why(sql, hopeless)["final"] == "attempt 1 failed in a way that no retry can cure"

    never = sql.enqueue()
    failed(sql, delay=60)
    clock.advance(seconds=1)
    sql("cancel_job", tenant="a", job_id=never)
    assert list(why(sql, never)) == ["canceled_waiting", "last_run"]

    stopped = sql.enqueue()
    run = sql.claim_one()
    sql("cancel_job", tenant="a", job_id=stopped)
    sql.complete(run, "failed")
    assert why(sql, stopped)["canceled_running"] == "it was canceled in run 1"


def test_a_killer_of_workers_is_named_as_one(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue()
    for n in range(5):
        assert sql.claim() or sql.suspects(), n
        clock.advance(minutes=2)
        sql("upkeep")
        clock.advance(minutes=2)
        sql("upkeep")
    assert list(why(sql, job)) == ["crashed", "last_run"]
    assert why(sql, job)["crashed"] == "it has lost 5 workers in a row, and is taken for what killed them"


def test_only_who_sees_a_job_hears_why(sql: Sql) -> None:
    job = sql.enqueue()
    assert why(sql, job, tenant="b") == {}
    assert why(sql, uuid.uuid4()) == {}
    assert sql("why_job", job_id=job) == []
    assert sql("why_job", user="jf_admin", job_id=job)
    with sql.connect("postgres", tenant="b") as superuser:
        assert call(superuser, "why_job", job_id=job) == []


@pytest.mark.parametrize("scope", ["tenant", "queue", "task"])
def test_an_open_change_of_its_limit_is_named_and_who_holds_it(sql: Sql, scope: str) -> None:
    """Claims pass over the row that it holds, so everything of that tenant, queue or task waits."""
    name = {"tenant": "a", "queue": "default", "task": "t"}[scope]
    set_limit = f"select jobforge.limit_{scope}('{name}', %s)"
    admin = sql.session("jf_admin")
    admin.execute(set_limit, [Jsonb({"max_running": 5})])
    beat(sql)
    job = sql.enqueue()
    holder = sql.connect("jf_admin")
    holder.execute(set_limit, [Jsonb({"max_running": 6})])
    assert sql.claim() == []
    assert [row["code"] for row in sql("why_job", tenant="a", job_id=job)] == [f"{scope}_held", "next"]
    assert why(sql, job)[f"{scope}_held"] == (
        f"the limits of its {scope} were changed in a transaction that is still open: claims give none of its jobs "
        "until that is committed or rolled back"
    )
    (held,) = sql("why_limited", user="jf_admin", job_id=job)
    assert held["says"].endswith(f"rolled back, by backend {holder.info.backend_pid}")
    assert held["detail"] == {"pid": holder.info.backend_pid}
    holder.rollback()
    assert list(why(sql, job)) == ["next"]
    assert len(sql.claim()) == 1


def test_what_claims_do_not_lock_is_not_held(sql: Sql) -> None:
    """A change of a weight or a quota alone holds no claim up."""
    admin = sql.session("jf_admin")
    admin.execute("select jobforge.limit_tenant('a', %s)", [Jsonb({"weight": 2})])
    beat(sql)
    job = sql.enqueue()
    holder = sql.connect("jf_admin")
    holder.execute("select jobforge.limit_tenant('a', %s)", [Jsonb({"weight": 3})])
    assert list(why(sql, job)) == ["next"]
