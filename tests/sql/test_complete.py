"""complete_jobs: the token is the right, the lease is the fence, and one bad item harms no other."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.types.json import Json

from tests.support import Row, Sql, call, item, one_database, refused

OTHER = uuid.UUID(int=9)
SECOND = dt.timedelta(seconds=1)


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        sql.session("postgres").execute("create table public.ledger (n int); grant all on public.ledger to public")
        yield sql


def running(sql: Sql, **options: Any) -> Row:
    """A job that was just claimed."""
    job = sql.enqueue(**options)
    (run,) = [run for run in sql.claim(100) if run["job_id"] == job]
    return run


# --- how a run ends ----------------------------------------------------------------------------------------


def test_success_ends_the_job_and_keeps_its_result_and_the_attempt(sql: Sql) -> None:
    clock = sql.clock()
    run = running(sql)
    clock.advance(seconds=3)
    assert sql.complete(run, result={"sum": 1.50}, run_ms=2990) == "done"

    job = sql.job(run["job_id"])
    assert (job["state"], job["run"], job["attempt"], job["crashes"]) == ("succeeded", 1, 1, 0)
    assert job["result"] == {"sum": 1.5}
    assert job["finished_at"] == clock.now()
    (attempt,) = sql.attempts(run["job_id"])
    assert (attempt["run"], attempt["attempt"], attempt["outcome"], attempt["run_ms"]) == (1, 1, "succeeded", 2990)
    assert attempt["worker_id"] == sql.worker
    assert attempt["finished_at"] - attempt["claimed_at"] == 3 * SECOND
    assert attempt["error"] is None


@pytest.mark.parametrize("result", [None, 0, "", False, [], {}, "€", [1, None]], ids=repr)
def test_a_result_is_any_json(sql: Sql, result: object) -> None:
    run = running(sql)
    assert sql.complete(run, result=result) == "done"
    assert sql.job(run["job_id"])["result"] == result


def test_a_failure_is_charged_and_tried_again_after_its_delay(sql: Sql) -> None:
    clock = sql.clock()
    run = running(sql)
    assert sql.complete(run, "failed", error={"type": "X", "message": "m"}) == "done"

    job = sql.job(run["job_id"])
    assert (job["state"], job["run"], job["attempt"]) == ("scheduled", 1, 1)
    assert job["due_at"] == clock.now() + SECOND
    assert sql.attempts(run["job_id"])[0]["error"] == {"type": "X", "message": "m"}


def test_delays_grow_1_2_4_to_3600_seconds_and_then_the_job_is_dead_with_all_attempts_on_record(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue(max_attempts=15)
    waits = []
    for n in range(1, 15):
        run = sql.claim_one()
        assert (run["run"], run["attempt"]) == (n, n)
        sql.complete(run, "failed", error={"message": f"{n}"})
        waits.append((sql.job(job)["due_at"] - clock.now()).total_seconds())
        assert sql.claim() == []
        clock.advance(seconds=waits[-1])
    sql.complete(sql.claim_one(), "failed", error={"message": "15"})

    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600]
    assert sql.state(job) == "dead"
    attempts = sql.attempts(job)
    assert [attempt["attempt"] for attempt in attempts] == list(range(1, 16))
    assert [attempt["error"]["message"] for attempt in attempts] == [str(n) for n in range(1, 16)]


def test_fault_053_the_1000th_attempt_waits_as_long_as_the_13th_and_does_not_overflow(sql: Sql) -> None:
    asked = "select extract(epoch from jobforge.retry_delay(%s::jsonb, %s))::float8 as wait"
    for attempt in (13, 14, 31, 32, 33, 64, 65, 999, 1000, 2**31 - 1):
        assert sql.look(asked, None, attempt)[0]["wait"] == 3600
    for policy in ({"factor": 100}, {"factor": 100, "max": 2_592_000}, {"base": 2_592_000, "factor": 100}):
        wanted = policy.get("max", 3600)
        assert sql.look(asked, json.dumps(policy), 1000)[0]["wait"] == wanted


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        ({"base": 10, "factor": 3, "max": 100}, [10, 30, 90, 100, 100]),
        ({"base": 0}, [0, 0, 0]),
        ({"factor": 1}, [1, 1, 1]),
        ({"max": 0}, [0, 0]),
        ({"delays": [5, 1.5, 60]}, [5, 1.5, 60, 60, 60]),
        ({}, [1, 2, 4]),
    ],
    ids=str,
)
def test_a_job_has_the_retry_policy_that_it_was_given(sql: Sql, policy: Row, waits: list[float]) -> None:
    clock = sql.clock()
    job = sql.enqueue(max_attempts=10, retry=policy)
    for wait in waits:
        sql.complete(sql.claim_one(), "failed")
        standing = sql.job(job)
        assert standing["state"] == ("scheduled" if wait else "queued")
        if wait:
            assert (standing["due_at"] - clock.now()).total_seconds() == wait
            clock.advance(seconds=wait)


def test_jitter_adds_up_to_its_part_and_never_the_same(sql: Sql) -> None:
    rows = sql.look(
        'select extract(epoch from jobforge.retry_delay(\'{"base": 100, "jitter": 0.5}\', 1))::float8 as wait '
        "from generate_series(1, 200)"
    )
    waits = [row["wait"] for row in rows]
    assert min(waits) >= 100
    assert max(waits) <= 150
    assert max(waits) - min(waits) > 10


def test_a_handlers_own_delay_goes_before_the_policy(sql: Sql) -> None:
    clock = sql.clock()
    run = running(sql)
    sql.complete(run, "failed", delay=77.5)

    assert sql.job(run["job_id"])["due_at"] == clock.now() + 77.5 * SECOND


def test_a_final_failure_is_dead_at_once(sql: Sql) -> None:
    run = running(sql)
    assert sql.complete(run, "failed", final=True, error={"type": "InvalidPayload"}) == "done"

    assert sql.state(run["job_id"]) == "dead"


def test_a_run_that_timed_out_is_charged_like_a_failure(sql: Sql) -> None:
    run = running(sql, max_attempts=1)
    assert sql.complete(run, "timed_out") == "done"

    assert (sql.state(run["job_id"]), sql.job(run["job_id"])["attempt"]) == ("dead", 1)


@pytest.mark.parametrize("outcome", ["snoozed", "released"])
@pytest.mark.parametrize("delay", [None, 0, 30])
def test_snoozed_and_released_runs_are_not_charged(sql: Sql, outcome: str, delay: float | None) -> None:
    clock = sql.clock()
    job = sql.enqueue(max_attempts=1)
    for n in range(1, 4):
        run = sql.claim_one()
        assert (run["run"], run["attempt"]) == (n, 1)
        assert sql.complete(run, outcome, **({} if delay is None else {"delay": delay})) == "done"
        standing = sql.job(job)
        assert (standing["run"], standing["attempt"], standing["crashes"]) == (n, 0, 0)
        if delay:
            assert standing["due_at"] == clock.now() + delay * SECOND
            clock.advance(seconds=delay)
        else:
            assert standing["state"] == "queued"

    assert [attempt["outcome"] for attempt in sql.attempts(job)] == [outcome] * 3


def test_a_canceled_run_ends_the_job_as_canceled(sql: Sql) -> None:
    run = running(sql)
    assert sql.complete(run, "canceled", error={"type": "Cancel", "message": "nothing to do"}) == "done"

    assert sql.state(run["job_id"]) == "canceled"
    assert sql.attempts(run["job_id"])[0]["outcome"] == "canceled"


def test_the_singular_form_does_the_same(sql: Sql) -> None:
    run = running(sql)
    arguments = {"job_id": run["job_id"], "lease_token": run["lease_token"], "outcome": "snoozed"}
    assert sql("complete_job", **arguments, delay=dt.timedelta(minutes=2)) == [{"answer": "done", "reason": None}]
    assert sql("complete_job", **arguments) == [{"answer": "already_done", "reason": None}]

    clock = sql.clock()
    clock.advance(minutes=3)
    again = sql.claim_one()
    (said,) = sql("complete_job", **arguments | {"lease_token": again["lease_token"], "outcome": "gone"})
    assert said == {"answer": "refused", "reason": "unknown outcome"}
    arguments |= {"lease_token": again["lease_token"], "outcome": "succeeded"}
    assert sql("complete_job", **arguments, result=Json([1])) == [{"answer": "done", "reason": None}]
    assert sql.job(run["job_id"])["result"] == [1]


# --- the fence ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "snoozed", "canceled"])
def test_fault_005_a_completion_repeated_after_a_lost_answer_hears_that_it_was_done_and_changes_nothing(
    sql: Sql, outcome: str
) -> None:
    run = running(sql)
    assert sql.complete(run, outcome, delay=60) == "done"
    before = (sql.job(run["job_id"]), sql.attempts(run["job_id"]))

    assert sql.complete(run, outcome, delay=5, result=2) == "already_done"
    assert sql.complete(run, "failed" if outcome != "failed" else "succeeded") == "lost"
    assert (sql.job(run["job_id"]), sql.attempts(run["job_id"])) == before


def test_a_repeated_completion_is_already_done_also_when_the_next_run_is_going_on(sql: Sql) -> None:
    run = running(sql)
    sql.complete(run, "failed", delay=0)
    again = sql.claim_one()

    assert sql.complete(run, "failed") == "already_done"
    assert sql.state(run["job_id"]) == "running"
    assert sql.complete(again) == "done"


def test_fault_008_a_zombie_changes_nothing_while_the_new_holder_is_running(sql: Sql) -> None:
    clock = sql.clock()
    job = sql.enqueue()
    zombie = sql.claim_one()
    clock.advance(seconds=31)
    sql("rescue_expired_jobs")
    holder = sql.claim_one(worker_id=OTHER)
    before = (sql.job(job), sql.attempts(job))

    for outcome in ("succeeded", "failed", "timed_out", "snoozed", "released", "canceled"):
        assert sql.complete(zombie, outcome) == "lost"
    beat = sql("heartbeat_job", job_id=job, lease_token=zombie["lease_token"])
    assert beat == [{"held": False, "cancel_requested": False, "deadline": None}]
    said = sql("heartbeat_jobs", worker_id=sql.worker, runs=[zombie["lease_token"]])
    assert said == [{"signal": "lost", "job_id": None, "lease_token": zombie["lease_token"]}]
    assert (sql.job(job), sql.attempts(job)) == before

    assert sql.complete(holder) == "done"
    assert [attempt["outcome"] for attempt in sql.attempts(job)] == ["lost", "succeeded"]


def test_fault_007_a_lease_that_has_expired_and_was_not_rescued_still_counts(sql: Sql) -> None:
    clock = sql.clock()
    run = running(sql)
    clock.advance(hours=5)

    assert sql.complete(run) == "done"
    assert sql.state(run["job_id"]) == "succeeded"


def test_the_second_of_two_racing_completions_waits_and_is_told(sql: Sql) -> None:
    run = running(sql)
    first, second, third = (sql.connect("jf_worker") for _ in range(3))
    call(first, "complete_jobs", results=Json([item(run)]))
    same = sql.waits(second, lambda: call(second, "complete_jobs", results=Json([item(run)])))
    other = sql.waits(third, lambda: call(third, "complete_jobs", results=Json([item(run, "failed")])))
    first.commit()

    assert same.result(5)[0]["answer"] == "already_done"
    assert other.result(5)[0]["answer"] == "lost"
    second.commit()
    third.commit()
    assert sql.state(run["job_id"]) == "succeeded"


def test_the_second_completes_when_the_first_rolls_back(sql: Sql) -> None:
    run = running(sql)
    first, second = sql.connect("jf_worker"), sql.connect("jf_worker")
    call(first, "complete_jobs", results=Json([item(run, "failed")]))
    waiting = sql.waits(second, lambda: call(second, "complete_jobs", results=Json([item(run)])))
    first.rollback()

    assert waiting.result(5)[0]["answer"] == "done"
    second.commit()
    assert sql.state(run["job_id"]) == "succeeded"


def test_fault_024_completions_of_the_same_leases_in_opposite_order_do_not_deadlock(sql: Sql) -> None:
    for _ in range(4):
        sql.fill("a", 100)
        runs = sql.claim(100)
        items = [item(run) for run in runs]
        works = [(sql.connect("jf_worker"), entries) for entries in [items, items[::-1]] * 2]
        answers = sql.together([lambda c=c, w=w: finish(c, w) for c, w in works])  # type: ignore[misc]
        said = sorted(answer for some in answers for answer in some)
        assert said == ["already_done"] * 300 + ["done"] * 100


def finish(connection: Any, items: list[Row]) -> list[str]:
    rows = call(connection, "complete_jobs", results=Json(items))
    connection.commit()
    return [row["answer"] for row in rows]


# --- in the handler's own transaction ----------------------------------------------------------------------


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
def test_what_a_handler_wrote_is_committed_together_with_the_completion(sql: Sql, level: str) -> None:
    run = running(sql)
    handler = sql.connect("jf_app", isolation=level, tenant="a")
    handler.execute("insert into public.ledger values (1)")
    sql("heartbeat_jobs", worker_id=sql.worker, runs=[run["lease_token"]])  # must not touch the lease: 40001
    assert call(handler, "complete_jobs", results=Json([item(run)]))[0]["answer"] == "done"
    assert sql.state(run["job_id"]) == "running"
    assert sql.look("select count(*) as n from public.ledger where n = 1") == [{"n": 0}]
    handler.commit()

    assert sql.state(run["job_id"]) == "succeeded"
    assert sql.look("delete from public.ledger returning n") == [{"n": 1}]


def test_a_completion_that_is_rolled_back_leaves_the_run_going_on(sql: Sql) -> None:
    run = running(sql)
    handler = sql.connect("jf_app", tenant="a")
    call(handler, "complete_jobs", results=Json([item(run)]))
    handler.rollback()

    assert sql.state(run["job_id"]) == "running"
    assert sql.complete(run) == "done"


def test_a_step_of_a_handler_holds_the_lease_until_it_is_committed(sql: Sql) -> None:
    clock = sql.clock()
    run = running(sql)
    handler = sql.connect("jf_app", tenant="a")
    clock.advance(seconds=31)
    (beat,) = call(handler, "heartbeat_job", job_id=run["job_id"], lease_token=run["lease_token"])
    assert beat == {"held": True, "cancel_requested": False, "deadline": run["deadline"]}

    assert sql("rescue_expired_jobs") == [{"rescue_expired_jobs": 0}]
    handler.commit()
    assert sql("rescue_expired_jobs") == [{"rescue_expired_jobs": 1}]


# --- bad items ---------------------------------------------------------------------------------------------

LONG = "x" * 262_145
BAD_ITEMS: dict[str, Any] = {
    "null": None,
    "a number": 1,
    "a text": "x",
    "an array": [],
    "an array of arrays": [[]],
    "empty": {},
    "no token": {"lease_token": None},
    "job_id a word": {"job_id": "x"},
    "job_id in one brace": {"job_id": "{00000000-0000-0000-0000-000000000000"},
    "job_id a number": {"job_id": 7},
    "job_id an object": {"job_id": {}},
    "job_id with a line": {"job_id": "00000000-0000-0000-0000-000000000000\n"},
    "token a word": {"lease_token": "x"},
    "no outcome": {"outcome": None},
    "outcome unknown": {"outcome": "exploded"},
    "outcome lost": {"outcome": "lost"},
    "outcome an array": {"outcome": []},
    "delay a word": {"delay": "soon"},
    "delay negative": {"delay": -1},
    "delay huge": {"delay": 10**10},
    "delay an exponent": {"delay": 1e300},
    "delay true": {"delay": True},
    "run_ms negative": {"run_ms": -1},
    "run_ms broken": {"run_ms": 1.5},
    "run_ms huge": {"run_ms": 10**12},
    "result too large": {"result": LONG},
    "error too large": {"outcome": "failed", "error": {"message": LONG[:65_536]}},
    "NUL in the result": {"result": "a\0b"},
    "NUL in the error": {"outcome": "failed", "error": {"message": "\0"}},
    "NUL in a key": {"\0": 1},
    "half a surrogate pair in the result": {"result": "\ud800"},
    "half a surrogate pair in the error": {"outcome": "failed", "error": {"message": "x\udc00"}},
    "half a surrogate pair in a key": {"\udfff": 1},
    "half a surrogate pair in the outcome": {"outcome": "\ud800"},
}


@pytest.mark.parametrize("bad", BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_one_bad_item_is_refused_with_its_reason_and_harms_no_other(sql: Sql, bad: Any) -> None:
    sql.fill("a", 3)
    first, spoiled, last = sql.claim(3)
    entry = item(spoiled) | bad if isinstance(bad, dict) and bad else bad
    said = sql("complete_jobs", results=Json([item(first), entry, item(last, "failed", final=True)]))

    answers = {row["item"]: row for row in said}
    assert [answers[n]["answer"] for n in (1, 2, 3)] == ["done", "refused", "done"]
    assert answers[2]["reason"]
    assert sql.state(first["job_id"]) == "succeeded"
    assert sql.state(spoiled["job_id"]) == "running"
    assert sql.state(last["job_id"]) == "dead"
    assert sql.complete(spoiled) == "done"


def test_a_text_that_merely_looks_like_a_nul_is_a_good_result(sql: Sql) -> None:
    run = running(sql)
    assert sql.complete(run, result={"source": r"\u0000", "path": "C:\\users\\u0000"}) == "done"
    assert sql.job(run["job_id"])["result"]["source"] == r"\u0000"


def test_an_item_given_twice_in_one_call_counts_once(sql: Sql) -> None:
    run = running(sql)
    said = sql("complete_jobs", results=Json([item(run), item(run), item(run, "failed")]))

    assert sorted(row["answer"] for row in said) in (
        ["already_done", "done", "lost"],  # one of the equal ones was first
        ["done", "lost", "lost"],
    )
    assert len(sql.attempts(run["job_id"])) == 1


def test_items_that_are_not_an_array_are_refused_whole(sql: Sql) -> None:
    bad: list[object] = [{}, "x", None, 1]
    for results in bad:
        with refused("JF003", "array"):
            sql("complete_jobs", results=Json(results))
    assert sql("complete_jobs", results=Json([])) == []


def test_five_hundred_runs_end_in_one_call_and_each_has_its_answer(sql: Sql) -> None:
    sql.fill("a", 500)
    runs = sql.claim(500)
    said = sql("complete_jobs", results=Json([item(run, result=n) for n, run in enumerate(runs)]))

    assert {row["answer"] for row in said} == {"done"}
    assert {row["item"]: row["job_id"] for row in said} == {n: run["job_id"] for n, run in enumerate(runs, 1)}
    ended = sql.look("select job_id, value as result from jobforge.results")
    assert {row["job_id"]: row["result"] for row in ended} == {run["job_id"]: n for n, run in enumerate(runs)}


@pytest.mark.parametrize("user", ["jf_admin", "jf_stranger"])
def test_only_app_and_worker_complete(sql: Sql, user: str) -> None:
    with refused("42501"):
        sql("complete_jobs", user=user, results=Json([]))


def test_a_policy_of_numbers_that_a_float_refuses_is_a_delay_all_the_same(sql: Sql) -> None:
    """numeric holds 1e-400, float8 raises for it: the batch of all tenants stood still."""
    for policy in ('{"base": 1e-400}', '{"jitter": 1e-400}', '{"delays": [1e-400]}'):
        job = sql.enqueue(retry=json.loads("{}"), payload={})
        sql.look(f"update jobforge.jobs set retry = '{policy}' returning id")
        run = next(run for run in sql.claim() if run["job_id"] == job)
        assert sql("complete_jobs", user="jf_worker", results=Json([item(run, "failed")]))[0]["answer"] == "done"
        sql.clean()


def test_of_two_ends_of_one_run_in_one_call_the_first_counts(sql: Sql) -> None:
    jobs = [sql.enqueue() for _ in range(20)]
    runs = sql.claim(20)
    batch = [entry for run in runs for entry in (item(run), item(run, "released"))]
    answers = sql("complete_jobs", user="jf_worker", results=Json(batch))

    assert [row["answer"] for row in sorted(answers, key=lambda row: row["item"])] == ["done", "lost"] * 20
    assert {sql.state(job) for job in jobs} == {"succeeded"}
