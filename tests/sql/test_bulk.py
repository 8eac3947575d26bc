"""cancel_jobs, retry_jobs, reschedule_jobs: what fits, in batches that wait for nobody and pass no job twice."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from tests.support import Connection, Row, Sql, call, refused

HOUR = dt.timedelta(hours=1)
BULK = ("cancel_jobs", "retry_jobs", "reschedule_jobs")
PLACES = ("queued", "scheduled", "retrying", "running", "succeeded", "dead", "canceled")


def stand(sql: Sql, place: str, tenant: str = "a", **options: Any) -> uuid.UUID:
    """A job that stands in this place."""
    job = sql.enqueue(tenant, delay=HOUR if place == "scheduled" else None, **{"queue": place, **options})
    if place in ("queued", "scheduled"):
        return job
    (run,) = [run for run in sql.claim(100, queues=[place], types=["t", "u"]) if run["job_id"] == job]
    if place == "retrying":
        sql.complete(run, "failed", delay=600)
    elif place != "running":
        outcome = "failed" if place == "dead" else place
        sql.complete(run, outcome, final=True, error={"type": "Boom", "message": f"of {tenant}"})
    return job


def bulk(sql: Sql, function: str, tenant: str | None = "a", /, **arguments: Any) -> tuple[int, int]:
    """All batches of a call, each committed; how many were changed, and how many skipped."""
    changed = skipped = 0
    cursor = None
    for _ in range(1000):
        (row,) = sql(function, tenant=tenant, cursor=cursor, **arguments)
        changed, skipped, cursor = changed + row["changed"], skipped + row["skipped"], row["next_cursor"]
        if cursor is None:
            return changed, skipped
    raise AssertionError("it never ends")


def states(sql: Sql, jobs: list[uuid.UUID]) -> list[str]:
    return [sql.state(job) for job in jobs]


# --- each job as if it were called by itself -----------------------------------------------------------------

SINGLE: dict[str, Callable[[Sql, uuid.UUID], object]] = {
    "cancel_jobs": lambda sql, job: sql("cancel_job", tenant="a", job_id=job),
    "retry_jobs": lambda sql, job: sql("retry_job", tenant="a", job_id=job),
    "reschedule_jobs": lambda sql, job: sql("reschedule_job", tenant="a", job_id=job, delay=2 * HOUR),
}


def told(sql: Sql, job: uuid.UUID) -> Row:
    row = {name: sql.job(job)[name] for name in ("state", "run", "attempt", "crashes", "due_at", "finished_at")}
    asked = sql.look("select from jobforge.cancel_requests where job_id = %s", job)
    return row | {"asked": len(asked), "attempts": len(sql.attempts(job))}


@pytest.mark.parametrize("function", BULK)
def test_a_bulk_call_does_to_each_job_what_a_call_for_that_job_does(sql: Sql, function: str) -> None:
    """Two of each, in any order: one for each of both ways."""
    sql.clock()
    places = [*PLACES] * 2
    random.shuffle(places)
    twins = [(stand(sql, place, type_="t"), stand(sql, place, type_="u")) for place in places]
    before = [told(sql, one) for one, _ in twins]
    more: dict[str, Any] = {"delay": 2 * HOUR} if function == "reschedule_jobs" else {}
    bulk(sql, function, type="u", limit=3, **more)
    assert [told(sql, one) for one, _ in twins] == before  # of the other type
    for one, _ in twins:
        with suppress(psycopg.DatabaseError):  # JF008: it is skipped
            SINGLE[function](sql, one)

    assert [told(sql, one) for one, _ in twins] == [told(sql, other) for _, other in twins]
    assert [told(sql, other) for _, other in twins] != before


@pytest.mark.parametrize(("function", "count"), [("cancel_jobs", 4), ("retry_jobs", 2), ("reschedule_jobs", 3)])
def test_a_second_time_nothing_is_left_to_do(sql: Sql, function: str, count: int) -> None:
    jobs = [stand(sql, place) for place in PLACES]
    assert bulk(sql, function, dry_run=True) == (count, 0)
    assert states(sql, jobs) == [*("scheduled" if place == "retrying" else place for place in PLACES)]
    assert bulk(sql, function, limit=1) == (count, 0)
    again = 3 if function == "reschedule_jobs" else 0  # they wait still, and may be moved once more
    assert bulk(sql, function) == (again, 0)


def test_the_woken_are_the_queues_that_got_something_and_who_waits_hears_of_the_end(sql: Sql) -> None:
    jobs = [sql.enqueue(queue=queue, delay=HOUR) for queue in ("one", "two", "one")]
    patience: dict[str, Any] = {"for": HOUR}
    sql("await_job", tenant="a", job_id=jobs[0], **patience)
    listener = sql.asleep("one", "two")
    listener.execute("listen jobforge_done")
    bulk(sql, "reschedule_jobs", limit=10)
    bulk(sql, "cancel_jobs", limit=10)
    bulk(sql, "retry_jobs", queue="two", limit=10)
    heard = [(note.channel, note.payload) for note in listener.notifies(timeout=5, stop_after=4)]
    assert sorted(heard[:2]) == [("jobforge", "one"), ("jobforge", "two")]
    assert heard[2:] == [("jobforge_done", ""), ("jobforge", "two")]


# --- what fits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", ["a", None], ids=["of a tenant", "of all"])
def test_filters_say_which(sql: Sql, tenant: str | None) -> None:
    clock = sql.clock()
    early = sql.enqueue(queue="x", subject="orders:1")
    clock.advance(hours=1)
    middle = clock.now()
    other = sql.enqueue(type_="u", delay=HOUR)
    given: dict[str, Any] = {"dry_run": True, "user": "jf_app" if tenant else "jf_admin", "all_tenants": tenant is None}
    for filters, wanted in (
        ({}, 2), ({"queue": "x"}, 1), ({"type": "u"}, 1), ({"type": "u", "queue": "x"}, 0),
        ({"subject": "orders:1"}, 1),
        ({"since": middle}, 1), ({"until": middle}, 1), ({"until": "infinity"}, 2), ({"since": "-infinity"}, 2),
        ({"since": "infinity"}, 0), ({"until": "-infinity"}, 0), ({"state": "queued"}, 1), ({"state": "running"}, 0),
    ):  # fmt: skip
        assert bulk(sql, "cancel_jobs", tenant, **filters, **given) == (wanted, 0), filters
    assert bulk(sql, "cancel_jobs", tenant, **given | {"until": middle, "dry_run": False}) == (1, 0)
    assert states(sql, [early, other]) == ["canceled", "scheduled"]


def test_what_failed_is_found_by_its_error(sql: Sql) -> None:
    boom, other = stand(sql, "dead"), sql.enqueue()
    sql.complete(sql.claim_one(), "failed", final=True, error={"type": "Other", "message": "Boom is no type here"})
    waited = sql.enqueue()
    sql("cancel_job", tenant="a", job_id=waited)  # without any run
    assert bulk(sql, "retry_jobs", error="Boom: of a") == (1, 0)
    assert states(sql, [boom, other, waited]) == ["queued", "dead", "canceled"]
    assert bulk(sql, "retry_jobs", error="nowhere") == (0, 0)
    assert bulk(sql, "retry_jobs", state="canceled") == (1, 0)


def test_what_is_asked_for_as_waiting_is_not_told_to_stop(sql: Sql) -> None:
    waiting, running = stand(sql, "queued"), stand(sql, "running")
    assert bulk(sql, "cancel_jobs", state="queued") == (1, 0)
    assert (sql.state(waiting), told(sql, running)["asked"]) == ("canceled", 0)
    assert bulk(sql, "cancel_jobs", state="running") == (1, 0)
    assert told(sql, running)["asked"] == 1


@pytest.mark.parametrize("function", BULK)
@pytest.mark.parametrize("tenant", ["a", None], ids=["of a tenant", "of all"])
def test_few_among_many_are_found_in_bounded_steps(sql: Sql, function: str, tenant: str | None) -> None:
    """A batch looks at 20 times its size, and goes on from there."""
    needle = stand(sql, "dead" if function == "retry_jobs" else "queued", type_="u")
    hay = sql.fill("a", 100)
    if function == "retry_jobs":
        bulk(sql, "cancel_jobs", type="t")
    given: dict[str, Any] = {"user": "jf_app" if tenant else "jf_admin", "all_tenants": tenant is None, "type": "u"}
    (first,) = sql(function, tenant=tenant, limit=2, **given)
    assert (first["changed"], first["next_cursor"]) == (0, hay[60])
    assert bulk(sql, function, tenant, limit=2, **given) == (1, 0)
    assert sql.state(needle) == ("canceled" if function == "cancel_jobs" else "queued")


# --- whose they are ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", BULK)
def test_another_tenants_jobs_are_not_touched(sql: Sql, function: str) -> None:
    theirs = [stand(sql, place, "b", subject="s:1") for place in PLACES]
    before = [told(sql, job) for job in theirs]
    for filters in ({}, {"subject": "s:1"}, {"queue": "queued"}):
        assert bulk(sql, function, "a", limit=2, **filters) == (0, 0)
    assert [told(sql, job) for job in theirs] == before


@pytest.mark.parametrize("function", BULK)
def test_without_a_tenant_nothing_is_changed_but_by_an_administrator_who_says_so(sql: Sql, function: str) -> None:
    place = {"cancel_jobs": "queued", "retry_jobs": "dead", "reschedule_jobs": "scheduled"}[function]
    mine, theirs = [stand(sql, place, tenant) for tenant in "ab"]
    for user in ("jf_app", "jf_admin", "postgres"):
        with refused("JF001"):
            sql(function, user=user)
    with refused("42501"):
        sql(function, all_tenants=True)
    with refused("42501"):
        sql(function, tenant="a", all_tenants=True)
    with refused("JF002"):
        sql(function, user="jf_admin", tenant="a", all_tenants=True)
    for user in ("jf_worker", "jf_stranger"):
        with refused("42501"):
            sql(function, user=user, tenant="a")
    assert bulk(sql, function, None, user="jf_admin", all_tenants=True, dry_run=True) == (2, 0)
    assert bulk(sql, function, "b", user="jf_admin") == (1, 0)
    assert told(sql, mine) != told(sql, theirs)


def test_an_app_cannot_call_itself_an_administrator(sql: Sql) -> None:
    app = sql.connect("jf_app")
    app.execute("select set_config('jobforge.role', 'jobforge_admin', true)")
    with refused("42501"):
        app.execute("set local role jobforge_admin")
    app.rollback()
    with refused("42501"):
        call(app, "cancel_jobs", all_tenants=True)


@pytest.mark.parametrize("function", BULK)
def test_arguments_that_cannot_be_are_refused(sql: Sql, function: str) -> None:
    for arguments in ({"limit": 0}, {"limit": 10_001}, {"limit": None}, {"state": "succeeded"}, {"state": "no such"}):
        with refused("JF003"):
            sql(function, tenant="a", **arguments)
    for isolation in ("repeatable read", "serializable"):
        with refused("JF005"):
            call(sql.connect(tenant="a", isolation=isolation), function)
    with refused("JF003"):
        sql("reschedule_jobs", tenant="a", delay=-HOUR)


# --- what moves meanwhile ------------------------------------------------------------------------------------


def test_a_claim_under_way_is_not_waited_for_and_the_same_cursor_once_more_tells_the_run(sql: Sql) -> None:
    jobs = sql.fill("a", 3)
    claiming = sql.connect("jf_worker")
    call(claiming, "claim_jobs", worker_id=sql.worker, queues=["default"], types=["t"], limit=1)
    assert bulk(sql, "cancel_jobs") == (2, 1)
    assert bulk(sql, "reschedule_jobs", delay=HOUR) == (0, 1)
    claiming.commit()
    assert bulk(sql, "cancel_jobs") == (1, 0)
    assert [told(sql, job)["asked"] for job in jobs] == [1, 0, 0]
    assert sorted(states(sql, jobs)) == ["canceled", "canceled", "running"]


@pytest.mark.parametrize("function", BULK)
def test_two_at_the_same_time_do_not_wait_for_each_other_and_change_nothing_twice(sql: Sql, function: str) -> None:
    jobs = sql.fill("a", 20)
    if function == "retry_jobs":
        bulk(sql, "cancel_jobs")
    first, second = sql.connect(tenant="a"), sql.connect(tenant="a")
    (one,) = call(first, function, limit=15)
    (other,) = call(second, function, limit=20)
    assert (one["changed"], other["changed"], other["skipped"]) == (15, 5, 15)
    first.commit()
    second.commit()
    assert set(states(sql, jobs)) == {"canceled" if function == "cancel_jobs" else "queued"}


def test_a_bulk_cancel_that_waits_for_anothers_request_holds_no_waiting_job_meanwhile(sql: Sql) -> None:
    """Else it deadlocks with who cancels a running job, and then one that waits, in one transaction."""
    running, waiting = stand(sql, "running"), stand(sql, "queued")
    one, other = sql.connect(tenant="a"), sql.connect(tenant="a")
    call(one, "cancel_job", job_id=running)
    bulking = sql.waits(other, lambda: call(other, "cancel_jobs"))
    assert call(one, "cancel_job", job_id=waiting)[0]["state"] == "canceled"
    one.commit()
    (row,) = bulking.result(5)
    other.commit()
    assert (row["changed"], row["skipped"]) == (0, 2)
    assert states(sql, [running, waiting]) == ["running", "canceled"]


def test_a_request_in_a_transaction_that_is_left_open_does_not_stop_a_bulk_cancel(sql: Sql) -> None:
    running, waiting = stand(sql, "running"), stand(sql, "queued")
    stuck = sql.connect(tenant="a")
    call(stuck, "cancel_job", job_id=running)
    assert bulk(sql, "cancel_jobs") == (1, 1)
    assert sql.state(waiting) == "canceled"
    stuck.rollback()
    assert bulk(sql, "cancel_jobs") == (1, 0)


def test_a_unique_key_that_an_open_transaction_makes_does_not_stop_a_bulk_retry(sql: Sql) -> None:
    dead, alone = keyed(sql, "k", "dead"), stand(sql, "dead")
    sql.session("postgres").execute("delete from jobforge.unique_keys")  # as when the last one with it was pruned
    stuck = sql.connect(tenant="a")
    call(stuck, "enqueue_job", type="t", payload={}, unique_key="k")
    assert bulk(sql, "retry_jobs") == (1, 1)
    assert states(sql, [dead, alone]) == ["dead", "queued"]
    stuck.commit()


def test_claims_go_on_beside_a_batch_that_is_not_committed(sql: Sql) -> None:
    sql.fill("a", 10)
    bulking = sql.connect(tenant="a")
    call(bulking, "cancel_jobs", limit=6)
    runs = sql.claim(10)
    assert len(runs) == 4
    assert all(sql.complete(run) == "done" for run in runs)
    bulking.commit()
    assert sql.claim() == []


def test_racing_workers_and_bulk_calls_never_deadlock_and_each_job_ends_once(sql: Sql) -> None:
    jobs = [job for _ in range(3) for job in sql.fill("a", 40)]

    def work() -> None:
        with_worker = sql.connect("jf_worker")
        for _ in range(8):
            runs = call(with_worker, "claim_jobs", worker_id=uuid.uuid4(), queues=["default"], types=["t"], limit=10)
            with_worker.commit()
            for run in runs:
                call(with_worker, "complete_job", job_id=run["job_id"], lease_token=run["lease_token"],
                     outcome=random.choice(["succeeded", "failed", "released"]))  # fmt: skip
            with_worker.commit()

    def change(function: str, **more: Any) -> None:
        connection = sql.connect()
        for _ in range(4):
            cursor = None
            while True:
                connection.execute("select set_config('jobforge.tenant_id', 'a', true)")
                (row,) = call(connection, function, limit=15, cursor=cursor, **more)
                connection.commit()
                if (cursor := row["next_cursor"]) is None:
                    break

    sql.together([work, work, *(lambda f=f: change(f) for f in BULK), lambda: change("cancel_jobs")])
    bulk(sql, "cancel_jobs")
    for job in jobs:
        assert sql.state(job) in ("canceled", "succeeded", "running")
    assert sql.claim(100) == []


# --- unique keys and quotas ----------------------------------------------------------------------------------


def keyed(sql: Sql, key: str, end: str | None) -> uuid.UUID:
    job = sql.enqueue(unique_key=key)
    if end is not None:
        sql.complete(sql.claim_one(), "failed" if end == "dead" else end, final=True)
    return job


def test_of_several_with_one_unique_key_the_newest_comes_back_and_none_where_another_is_active(sql: Sql) -> None:
    older, newer = keyed(sql, "k", "dead"), keyed(sql, "k", "dead")
    beaten, active = keyed(sql, "l", "dead"), keyed(sql, "l", None)
    alone = stand(sql, "canceled")
    assert bulk(sql, "retry_jobs") == (2, 2)
    assert states(sql, [older, newer, beaten, active, alone]) == ["dead", "queued", "dead", "queued", "queued"]
    (again,) = sql("enqueue_job", tenant="a", type="t", payload={}, unique_key="k")
    assert (again["id"], again["created"]) == (newer, False)


@pytest.mark.parametrize("end", ["succeeded", "canceled"])
def test_a_key_that_a_later_job_had_and_that_has_ended_or_is_gone_is_taken_back(sql: Sql, end: str) -> None:
    dead, later = keyed(sql, "k", "dead"), keyed(sql, "k", end)
    if end == "canceled":
        sql.session("postgres").execute("delete from jobforge.unique_keys")
    assert bulk(sql, "retry_jobs", state="dead") == (1, 0)
    assert (sql.state(dead), sql.state(later)) == ("queued", end)
    assert sql("enqueue_job", tenant="a", type="t", payload={}, unique_key="k")[0]["id"] == dead


def test_a_key_that_an_enqueue_holds_is_not_waited_for(sql: Sql) -> None:
    dead = keyed(sql, "k", "dead")
    enqueuing = sql.connect(tenant="a")
    call(enqueuing, "enqueue_job", type="t", payload={}, unique_key="k")
    assert bulk(sql, "retry_jobs") == (0, 1)
    enqueuing.commit()
    assert sql.state(dead) == "dead"


def test_a_quota_refuses_a_tenants_batch_and_over_all_tenants_skips_its_part(sql: Sql) -> None:
    jobs = [*sql.fill("a", 4), *sql.fill("b", 4)]
    for tenant in "ab":
        bulk(sql, "cancel_jobs", tenant)
    sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 3})
    with refused("JF007"):
        sql("retry_jobs", tenant="a")
    (row,) = sql("retry_jobs", user="jf_admin", all_tenants=True, dry_run=True)
    assert (row["changed"], row["over_quota"]) == (8, 0)
    (row,) = sql("retry_jobs", user="jf_admin", all_tenants=True)
    assert (row["changed"], row["skipped"], row["over_quota"]) == (4, 4, 4)
    assert states(sql, jobs) == ["canceled"] * 4 + ["queued"] * 4
    with refused("JF007"):  # batch by batch, as far as it goes
        bulk(sql, "retry_jobs", limit=2)
    assert sorted(states(sql, jobs[:4])) == ["canceled", "canceled", "queued", "queued"]


# --- flat ----------------------------------------------------------------------------------------------------


def pages(connection: Connection, function: str, cursor: uuid.UUID | None) -> tuple[int, uuid.UUID | None]:
    """Pages that a batch of 20 reads, and its cursor, which the function says by a second, dry call."""
    given = {"limit": 20, "cursor": cursor}
    asked = f"select * from jobforge.{function}(p_limit => %(limit)s, p_cursor => %(cursor)s"
    (row,) = connection.execute(f"{asked}, p_dry_run => true)".encode(), given)
    (plan,) = connection.execute(f"explain (analyze, buffers, format json) {asked})".encode(), given)
    (found,) = plan["QUERY PLAN"]
    return found["Plan"]["Shared Hit Blocks"] + found["Plan"]["Shared Read Blocks"], row["next_cursor"]


@pytest.mark.parametrize("function", ["cancel_jobs", "reschedule_jobs", "retry_jobs"])
def test_the_last_batch_costs_what_the_first_did(sql: Sql, function: str) -> None:
    for _ in range(4):
        sql.fill("a", 1000)
    if function == "retry_jobs":
        bulk(sql, "cancel_jobs")
    connection = sql.connect()
    costs, cursor = [], None
    for _ in range(200):
        connection.execute("select set_config('jobforge.tenant_id', 'a', true)")
        cost, cursor = pages(connection, function, cursor)
        connection.commit()
        costs.append(cost)
        if cursor is None:
            break
    first, last = (
        sorted(costs[5:25])[10],
        sorted(costs[-25:-5])[10],
    )  # the first call of a session reads the catalog too
    assert len(costs) >= 200
    assert last < 1.3 * first, (first, last)
    assert last < 60 * 20, last  # each job by key
