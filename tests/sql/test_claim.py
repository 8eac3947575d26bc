"""claim_jobs: one lease for a job, fairly over the tenants, in order within one, and only what the worker knows."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections import Counter
from typing import Any

import pytest

from tests.support import Connection, Row, Sql, call, refused

WORKER = uuid.UUID(int=2)
SMALL = [f"s{n:02}" for n in range(20)]


def claim(connection: Connection, limit: int = 10, **options: Any) -> list[Row]:
    given = {"worker_id": WORKER, "queues": ["default"], "types": ["t"], "limit": limit}
    return call(connection, "claim_jobs", **given | options)


# --- what a claim gives ------------------------------------------------------------------------------------


def test_no_token_tells_of_another_one(sql: Sql) -> None:
    """Of the same claim, or of the same job's next run."""
    sql.fill("a", 200)
    tokens = set()
    for _ in range(3):
        runs = sql.claim(200)
        tokens |= {run["lease_token"].bytes for run in runs}
        for run in runs:
            sql.complete(run, "released")
    assert len(tokens) == 600
    for byte in range(16):  # each of its bytes is left to chance
        assert len({token[byte] for token in tokens}) > 200


def test_a_claim_gives_all_that_a_worker_needs_and_the_job_is_running(sql: Sql) -> None:
    clock = sql.clock()
    parent = uuid.uuid4()
    job = sql.enqueue(
        payload={"n": 1},
        priority=7,
        idempotency_key="k",
        max_attempts=3,
        timeout=dt.timedelta(seconds=90),
        trace={"traceparent": "x"},
        parent_id=parent,
    )
    run = sql.claim_one(worker_id=WORKER)

    token = run.pop("lease_token")
    assert isinstance(token, uuid.UUID)
    assert run == {
        "job_id": job,
        "tenant_id": "a",
        "queue": "default",
        "type": "t",
        "priority": 7,
        "payload": '{"n": 1}',
        "run": 1,
        "attempt": 1,
        "max_attempts": 3,
        "crashes": 0,
        "claimed_at": clock.now(),
        "deadline": clock.now() + dt.timedelta(seconds=150),  # the timeout, and a minute
        "timeout": dt.timedelta(seconds=90),
        "run_at": clock.now(),
        "created_at": clock.now(),
        "idempotency_key": "k",
        "parent_id": parent,
        "trace": '{"traceparent": "x"}',
        "tenant_token": None,
    }
    standing = sql.job(job)
    assert standing["state"] == "running"
    assert standing["worker_id"] == WORKER
    assert standing["deadline"] == run["deadline"]


def test_without_a_timeout_a_lease_still_has_a_deadline(sql: Sql) -> None:
    sql.enqueue()
    run = sql.claim_one()

    assert run["timeout"] is None
    assert run["deadline"] - run["claimed_at"] == dt.timedelta(hours=1, minutes=1)


def test_nothing_to_claim_is_no_rows(sql: Sql) -> None:
    assert sql.claim() == []


def test_a_claim_that_is_rolled_back_leaves_the_job_queued_and_uncharged(sql: Sql) -> None:
    job = sql.enqueue()
    connection = sql.connect("jf_worker")
    assert len(claim(connection)) == 1
    connection.rollback()

    assert sql.state(job) == "queued"
    assert sql.claim_one()["run"] == 1


@pytest.mark.parametrize("user", ["jf_app", "jf_admin", "jf_stranger"])
@pytest.mark.parametrize("function", ["claim_jobs", "heartbeat_jobs"])
def test_only_a_worker_claims_and_sends_heartbeats(sql: Sql, user: str, function: str) -> None:
    arguments: dict[str, Any] = {"worker_id": WORKER} | (
        {"queues": ["default"], "types": ["t"]} if function == "claim_jobs" else {}
    )
    with refused("42501"):
        sql(function, user=user, **arguments)


# --- one lease for a job -----------------------------------------------------------------------------------


def test_two_claimers_never_get_one_job(sql: Sql) -> None:
    sql.fill("a", 300)
    sql.fill("b", 300)

    def drain(connection: Connection) -> list[uuid.UUID]:
        got: list[uuid.UUID] = []
        while rows := claim(connection, random.randint(1, 7)):
            connection.commit()
            got += [row["job_id"] for row in rows]
        return got

    connections = [sql.connect("jf_worker") for _ in range(6)]
    got = sql.together([lambda c=c: drain(c) for c in connections])  # type: ignore[misc]
    everything = [job for some in got for job in some]
    assert len(everything) == len(set(everything)) == 600


def test_a_claimer_passes_over_what_another_is_claiming_and_waits_for_nobody(sql: Sql) -> None:
    first, second = sql.fill("a", 2)
    one, two = sql.connect("jf_worker"), sql.connect("jf_worker")
    two.execute("set lock_timeout = '2s'")

    assert [run["job_id"] for run in claim(one, 1)] == [first]
    assert [run["job_id"] for run in claim(two, 5, worker_id=uuid.uuid4())] == [second]
    one.rollback()
    two.commit()
    assert sql.state(first) == "queued"
    assert sql.state(second) == "running"


def test_fault_013_every_lease_has_a_token_of_its_own_and_every_run_a_number_that_never_repeats(sql: Sql) -> None:
    sql.enqueue()
    tokens, runs = set(), []
    for outcome in ("released", "snoozed", "failed", "released"):
        run = sql.claim_one()
        tokens.add(run["lease_token"])
        runs.append((run["run"], run["attempt"]))
        sql.complete(run, outcome, delay=0)

    assert len(tokens) == 4
    assert runs == [(1, 1), (2, 1), (3, 1), (4, 2)]


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_fault_023_above_read_committed_a_claim_is_refused(sql: Sql, level: str) -> None:
    job = sql.enqueue()
    with refused("JF005", "READ COMMITTED"):
        claim(sql.connect("jf_worker", isolation=level))
    for function, arguments in {
        "upkeep": {},
        "rescue_expired_jobs": {},
        "heartbeat_jobs": {"worker_id": WORKER},
    }.items():
        with refused("JF005", "READ COMMITTED"):
            call(sql.connect("jf_worker", isolation=level), function, **arguments)

    assert sql.state(job) == "queued"


# --- order -------------------------------------------------------------------------------------------------


def test_within_a_tenant_priority_goes_first_and_then_age(sql: Sql) -> None:
    jobs = [
        (priority, n, sql.enqueue(priority=priority)) for n, priority in enumerate([0, 5, -100, 0, 100, -5, 0, -100])
    ]
    wanted = [job for _, _, job in sorted(jobs)]

    assert [run["job_id"] for run in sql.claim(3)] == wanted[:3]
    assert [run["job_id"] for run in sql.claim(10)] == wanted[3:]


def test_a_retried_job_comes_back_to_its_old_place(sql: Sql) -> None:
    first, second = sql.fill("a", 2)
    run = sql.claim(1)[0]
    sql.complete(run, "failed", delay=0)

    assert [run["job_id"] for run in sql.claim(2)] == [first, second]


def test_a_tenant_does_not_jump_others_by_raising_its_own_priority(sql: Sql) -> None:
    sql.fill("loud", 100, priority=-100)
    quiet = sql.enqueue("quiet", priority=100)

    assert quiet in {run["job_id"] for run in sql.claim(10, cursors=[""])}


# --- fairness ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("big", ["a-big", "s10-big", "z-big"])
@pytest.mark.parametrize("cursor", [None, "", "a-big", "s05", "s10-big", "s19", "z-big", "zz"])
def test_fault_055_a_tenant_with_1000_jobs_leaves_room_for_20_with_one_in_a_claim_of_50(
    sql: Sql, big: str, cursor: str
) -> None:
    sql.fill(big, 1000)
    for tenant in SMALL:
        sql.enqueue(tenant)
    served = Counter(run["tenant_id"] for run in sql.claim(50, cursors=[cursor]))

    assert {tenant: served[tenant] for tenant in SMALL} == dict.fromkeys(SMALL, 1)
    assert served.total() == 50


@pytest.mark.parametrize("big", ["a-big", "s10-big", "z-big"])
@pytest.mark.parametrize("limit", [1, 3, 10])
def test_with_its_cursor_a_claimer_serves_every_tenant_within_one_round(sql: Sql, big: str, limit: int) -> None:
    sql.fill(big, 200)
    for tenant in SMALL:
        sql.enqueue(tenant)
    cursor: str | None = None
    served: list[str] = []
    while not set(SMALL) <= set(served):
        rows = sql.claim(limit, cursors=[cursor])
        served += [row["tenant_id"] for row in rows]
        cursor = rows[-1]["tenant_id"]
        assert len(rows) == limit
        assert len(served) < 500

    # one round: each of 20 once; the big one once for each visit of its place, and what is left of a claim
    assert served.count(big) <= 2 * limit, served


def test_two_equal_tenants_share_a_claim(sql: Sql) -> None:
    for tenant in "ab":
        sql.fill(tenant, 100)
    for cursor in ("", "a", "b", "c"):
        served = Counter(run["tenant_id"] for run in sql.claim(10, cursors=[cursor]))
        assert served == {"a": 5, "b": 5}, f"cursor {cursor!r}"


def test_without_a_cursor_the_ring_begins_at_a_random_place(sql: Sql) -> None:
    tenants = [f"tenant-{n:03}" for n in range(50)]
    for tenant in tenants:
        sql.fill(tenant, 40)
    first = {sql.claim(1)[0]["tenant_id"] for _ in range(40)}

    assert len(first) > 5


def test_a_claim_goes_on_where_its_cursor_says_and_round_to_the_beginning(sql: Sql) -> None:
    for tenant in "abcd":
        sql.fill(tenant, 3)

    assert [run["tenant_id"] for run in sql.claim(3, cursors=["b"])] == ["c", "d", "a"]
    assert [run["tenant_id"] for run in sql.claim(2, cursors=["a"])] == ["b", "c"]


def test_a_claim_takes_all_there_is_up_to_its_limit(sql: Sql) -> None:
    sql.fill("a", 7)
    sql.fill("b", 1)

    assert len(sql.claim(10)) == 8
    assert sql.claim(10) == []


@pytest.mark.parametrize("tenant", [" ", "%", "~", "\U0010ffff", "ä", "A", "'; --", "\t"])
def test_a_tenant_of_any_name_is_served(sql: Sql, tenant: str) -> None:
    sql.enqueue(tenant)
    sql.enqueue("m")

    assert {run["tenant_id"] for run in sql.claim()} == {tenant, "m"}


# --- types and queues --------------------------------------------------------------------------------------


def test_unknown_types_stay_untouched_and_stand_in_nobodys_way(sql: Sql) -> None:
    strange = sql.fill("a", 30, type="unknown", priority=-100)
    known = sql.fill("a", 2, type="known")
    runs = sql.claim(50, types=["known", "other"])

    assert [run["job_id"] for run in runs] == known
    assert {sql.job(job)["run"] for job in strange} == {0}
    assert len(sql.claim(50, types=["unknown"])) == 30


def test_a_claimer_of_no_types_or_no_queues_gets_nothing(sql: Sql) -> None:
    sql.enqueue()

    assert sql.claim(types=[]) == []
    assert sql.claim(queues=[]) == []
    assert sql.claim(queues=["nowhere"]) == []


def test_each_queue_has_its_own_limit_and_the_claim_one_for_all(sql: Sql) -> None:
    for queue in ("x", "y", "z"):
        sql.fill("a", 10, queue=queue)
    queues = ["x", "y", "z"]

    def claimed(limit: int, limits: list[int] | None) -> dict[str, int]:
        return dict(Counter(run["queue"] for run in sql.claim(limit, queues=queues, queue_limits=limits)))

    assert claimed(10, [2, 0, 1]) == {"x": 2, "z": 1}
    assert claimed(3, [2, 2, 2]) == {"x": 2, "y": 1}
    assert claimed(4, None) == {"x": 4}
    assert claimed(100, None) == {"x": 2, "y": 9, "z": 9}


def test_queues_have_cursors_of_their_own(sql: Sql) -> None:
    for queue in ("x", "y"):
        for tenant in "abc":
            sql.fill(tenant, 1, queue=queue)
    runs = sql.claim(2, queues=["x", "y"], queue_limits=[1, 1], cursors=["a", "b"])

    assert [(run["queue"], run["tenant_id"]) for run in runs] == [("x", "b"), ("y", "c")]


def test_a_claim_first_moves_what_is_due(sql: Sql) -> None:
    clock = sql.clock()
    due = sql.enqueue(delay=dt.timedelta(seconds=10))
    sql.enqueue(delay=dt.timedelta(seconds=11))
    assert sql.claim() == []
    clock.advance(seconds=10)

    assert [run["job_id"] for run in sql.claim()] == [due]


# --- bounds ------------------------------------------------------------------------------------------------


def test_a_claim_is_a_sign_of_life(sql: Sql) -> None:
    clock = sql.clock()
    sql.fill("a", 3)
    sql.claim(1, alive=dt.timedelta(seconds=60))
    clock.advance(seconds=40)
    sql.claim(1, alive=dt.timedelta(seconds=60))
    clock.advance(seconds=50)

    assert sql("rescue_expired_jobs") == [{"rescue_expired_jobs": 0}]
    clock.advance(seconds=10)
    assert sql("rescue_expired_jobs") == [{"rescue_expired_jobs": 2}]
