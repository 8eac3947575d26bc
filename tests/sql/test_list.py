"""list_jobs and get_job: jobs by state, type, queue and time, in pages that fit together, of one tenant."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from tests.support import Row, Sql, refused

STATES = ["scheduled", "queued", "running", "succeeded", "dead", "canceled"]


def listed(sql: Sql, tenant: str | None = "a", user: str = "jf_app", **filters: Any) -> list[uuid.UUID]:
    return [row["id"] for row in sql("list_jobs", tenant=tenant, user=user, **filters)]


def one_of_each_state(sql: Sql, tenant: str = "a", **options: Any) -> dict[str, uuid.UUID]:
    jobs = {}
    for outcome, state in (("succeeded", "succeeded"), ("failed", "dead"), ("canceled", "canceled"), (None, "running")):
        jobs[state] = sql.enqueue(tenant, type_=f"{tenant}.{state}", **options)
        (run,) = sql.claim(types=[f"{tenant}.{state}"], queues=[options.get("queue", "default")])
        if outcome:
            sql.complete(run, outcome, final=True, result=[1])
    jobs["queued"] = sql.enqueue(tenant, **options)
    jobs["scheduled"] = sql.enqueue(tenant, delay=dt.timedelta(hours=1), **options)
    return jobs


def pages(sql: Sql, between: Any = lambda: None, **filters: Any) -> list[uuid.UUID]:
    """All pages, one after the other."""
    ids: list[uuid.UUID] = []
    while page := listed(sql, cursor=ids[-1] if ids else None, **filters):
        assert not set(page) & set(ids), "pages overlap"
        ids += page
        between()
    return ids


def test_the_newest_jobs_come_first_each_as_it_is_now(sql: Sql) -> None:
    jobs = one_of_each_state(sql)
    rows = sql("list_jobs", tenant="a")

    assert [row["id"] for row in rows] == sorted(jobs.values(), reverse=True)
    assert {row["state"]: row["id"] for row in rows} == jobs
    for row in rows:
        assert sql("get_job", tenant="a", job_id=row["id"]) == [row]
        assert {name: row[name] is not None for name in ("due_at", "deadline", "finished_at", "result")} == {
            "due_at": row["state"] == "scheduled",
            "deadline": row["state"] == "running",
            "finished_at": row["state"] in ("succeeded", "dead", "canceled"),
            "result": row["state"] == "succeeded",
        }


@pytest.mark.parametrize("state", STATES)
def test_a_state_lists_the_jobs_in_it(sql: Sql, state: str) -> None:
    jobs = one_of_each_state(sql)
    one_of_each_state(sql, "b")

    assert listed(sql, state=state) == [jobs[state]]


def test_filters_by_type_queue_and_time_hold_together_with_and_without_a_state(sql: Sql) -> None:
    clock = sql.clock()
    start = clock.now()
    made: list[tuple[uuid.UUID, str, str, dt.datetime]] = []
    for kind in ("x", "y"):
        for queue in ("p", "q"):
            for _ in range(2):
                made.append((sql.enqueue(type_=kind, queue=queue), kind, queue, clock.now()))
                clock.advance(minutes=1)
    since, until = start + dt.timedelta(minutes=1), start + dt.timedelta(minutes=6)
    choices: list[dict[str, Any]] = [
        {},
        {"type": "x"},
        {"queue": "q"},
        {"since": since},
        {"until": until},
        {"type": "y", "queue": "p", "since": since, "until": until},
        {"type": "x", "queue": "q", "until": until},
        {"type": "z"},
        {"queue": "nowhere"},
        {"since": until, "until": since},
    ]
    for filters in choices:
        wanted = [
            job
            for job, kind, queue, at in reversed(made)
            if filters.get("type", kind) == kind
            and filters.get("queue", queue) == queue
            and filters.get("since", at) <= at
            and (("until" not in filters) or at < filters["until"])
        ]
        assert listed(sql, **filters) == wanted
        assert listed(sql, state="queued", **filters) == wanted
        assert listed(sql, state="dead", **filters) == []


@pytest.mark.parametrize("state", [None, "queued"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pages_are_complete_and_do_not_overlap_while_jobs_are_added(sql: Sql, state: str | None, size: int) -> None:
    jobs = sql.fill("a", 40)
    got = pages(sql, lambda: (sql.enqueue(), sql.enqueue("b")), state=state, limit=size)

    assert got == jobs[::-1]


def test_pages_without_a_state_are_complete_while_jobs_change_their_state(sql: Sql) -> None:
    jobs = sql.fill("a", 40)

    def work() -> None:
        for run in sql.claim(7):
            sql.complete(run)

    assert pages(sql, work, limit=6) == jobs[::-1]


# --- whose jobs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["jf_app", "jf_admin", "jf_one", "postgres"])
@pytest.mark.parametrize("state", [None, "queued", "dead"])
def test_under_a_tenant_everybody_lists_and_gets_that_tenants_jobs_only(sql: Sql, user: str, state: str | None) -> None:
    mine, theirs = one_of_each_state(sql), one_of_each_state(sql, "b")
    wanted = {mine[state]} if state else set(mine.values())

    assert set(listed(sql, user=user, state=state)) == wanted
    for job in theirs.values():
        assert sql("get_job", tenant="a", user=user, job_id=job) == []
        assert listed(sql, user=user, cursor=uuid.UUID(int=job.int + 1), limit=1) != [job]


def test_without_a_tenant_the_app_sees_nothing_and_an_admin_all(sql: Sql) -> None:
    mine, theirs = one_of_each_state(sql), one_of_each_state(sql, "b")
    everything = {*mine.values(), *theirs.values()}
    for tenant in (None, ""):
        assert listed(sql, tenant) == []
        assert [sql("get_job", tenant=tenant, job_id=job) for job in everything] == [[]] * 12
        assert set(listed(sql, tenant, "jf_admin")) == everything
        assert set(listed(sql, tenant, "jf_admin", state="queued")) == {mine["queued"], theirs["queued"]}
        assert listed(sql, tenant, "jf_one") == []  # who is also in jobforge_app meets the wall

    for user in ("jf_worker", "jf_stranger"):
        with refused("42501"):
            listed(sql, "a", user)


def test_a_job_that_never_was_is_no_row(sql: Sql) -> None:
    assert sql("get_job", tenant="a", job_id=uuid.uuid4()) == []
    assert sql("get_job", tenant="a", job_id=None) == []


def test_a_reader_sees_each_job_once_while_they_move(sql: Sql) -> None:
    jobs = set(sql.fill("a", 50))
    reader = sql.connect("jf_app", tenant="a", isolation="read committed")
    seen: list[Row] = []

    def read() -> None:
        for _ in range(30):
            seen.append({row["id"]: 0 for row in reader.execute("select * from jobforge.list_jobs(p_limit => 1000)")})
            counted = reader.execute("select count(*) as n, count(distinct id) as m from jobforge.all_jobs").fetchone()
            assert counted == {"n": 50, "m": 50}

    def move() -> None:
        while runs := sql.claim(5):
            for n, run in enumerate(runs):
                sql.complete(run, ["succeeded", "failed", "canceled"][n % 3], delay=600)

    sql.together([read, move])
    assert all(set(page) == jobs for page in seen)
