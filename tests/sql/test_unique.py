"""Unique keys: at most one active job for each, whoever comes at the same time, and no payload gets lost."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Json

from tests.support import Connection, Row, Sql, call, refused


def enqueue(connection: Connection, n: int = 1, **options: Any) -> Row:
    (row,) = call(connection, "enqueue_job", **{"type": "t", "unique_key": "k", "payload": {"n": n}, **options})
    return row


def again(sql: Sql, n: int = 2, tenant: str = "a", **options: Any) -> Row:
    given = {"type": "t", "unique_key": "k", "payload": {"n": n}, **options}
    (row,) = sql("enqueue_job", tenant=tenant, **given)
    return row


def kept(first: Row, *, differs: bool = True) -> Row:
    return {"id": first["id"], "created": False, "payload_differs": differs}


# --- one active job ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["queued", "scheduled", "running", "retrying", "suspect"])
def test_while_a_job_waits_or_runs_the_next_with_its_key_is_not_enqueued(sql: Sql, place: str) -> None:
    first = again(sql, 1, delay="1 hour" if place == "scheduled" else None)
    if place in ("running", "retrying", "suspect"):
        run = sql.claim_one()
        if place == "retrying":
            sql.complete(run, "failed", delay=60)
        if place == "suspect":
            sql.session("postgres").execute("update jobforge.leases set crashes = 2")
            sql.complete(run, "released")
    assert again(sql) == kept(first)
    assert again(sql, 1) == kept(first, differs=False)
    assert again(sql, unique_key="other")["created"] is True
    assert again(sql, type="u")["created"] is True
    assert again(sql, tenant="b")["created"] is True
    assert sql.job(first["id"])["payload"] == {"n": 1}


@pytest.mark.parametrize("end", ["succeeded", "dead", "canceled", "canceled while waiting"])
def test_when_it_has_ended_the_next_one_is_enqueued(sql: Sql, end: str) -> None:
    first = again(sql, 1)
    if end == "canceled while waiting":
        sql("cancel_job", tenant="a", job_id=first["id"])
    else:
        sql.complete(sql.claim_one(), "failed" if end == "dead" else end, **({"final": True} if end == "dead" else {}))
    second = again(sql)
    assert second["created"] is True
    assert again(sql, 3) == kept(second)


def test_a_rolled_back_job_leaves_its_key_free_and_a_savepoint_too(sql: Sql) -> None:
    connection = sql.connect(tenant="a")
    enqueue(connection)
    connection.rollback()
    connection = sql.connect(tenant="a")
    connection.execute("savepoint s")
    enqueue(connection)
    connection.execute("rollback to s")
    assert enqueue(connection)["created"] is True
    connection.commit()


def test_sixteen_at_once_make_one_job(sql: Sql) -> None:
    rows = sql.together([lambda n=n: again_alone(sql, n) for n in range(16)])  # type: ignore[misc]
    assert sum(row["created"] for row in rows) == 1
    assert len({row["id"] for row in rows}) == 1


def again_alone(sql: Sql, n: int) -> Row:
    with sql.connect(tenant="a") as connection:
        return enqueue(connection, n)


def test_who_comes_behind_a_twin_waits_for_it_and_takes_the_key_if_that_rolls_back(sql: Sql) -> None:
    for commit in (True, False):
        first, second = sql.connect(tenant="a"), sql.connect(tenant="a")
        twin = enqueue(first)
        future = sql.waits(second, lambda second=second: enqueue(second, 2))  # type: ignore[misc]
        first.commit() if commit else first.rollback()
        row = future.result(10)
        assert row == kept(twin) if commit else row["created"] is True
        second.commit()
        sql("cancel_job", tenant="a", job_id=row["id"])


def test_a_twin_that_takes_over_an_ended_jobs_key_is_waited_for(sql: Sql) -> None:
    again(sql, 1)
    sql.complete(sql.claim_one())
    first, second = sql.connect(tenant="a"), sql.connect(tenant="a")
    twin = enqueue(first, 2)
    future = sql.waits(second, lambda: enqueue(second, 3))
    first.commit()
    assert future.result(10) == kept(twin)


def test_above_read_committed_a_twin_newer_than_the_snapshot_is_a_40001(sql: Sql) -> None:
    connection = sql.connect(tenant="a", isolation="repeatable read")
    connection.execute("select 1")
    again(sql)
    with refused("40001"):
        enqueue(connection)


def test_a_retry_finds_the_key_taken_or_takes_it_back(sql: Sql) -> None:
    first = again(sql, 1)
    sql.complete(sql.claim_one(), "failed", final=True)
    second = again(sql)
    with refused("JF008", "unique key"):
        sql("retry_job", tenant="a", job_id=first["id"])
    sql("cancel_job", tenant="a", job_id=second["id"])
    sql("retry_job", tenant="a", job_id=first["id"])
    assert again(sql, 3) == kept(first)


# --- replace: the last payload wins ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["queued", "scheduled", "retrying", "suspect"])
def test_replace_gives_a_waiting_job_the_new_payload_and_leaves_it_where_it_stands(sql: Sql, place: str) -> None:
    first = again(sql, 1, delay="1 hour" if place == "scheduled" else None, priority=3)
    if place in ("retrying", "suspect"):
        run = sql.claim_one()
        sql.session("postgres").execute("update jobforge.leases set crashes = 2")
        sql.complete(run, *(("failed",) if place == "retrying" else ("released",)))
    before = sql.job(first["id"])
    assert again(sql, 2, on_duplicate="replace", priority=9) == kept(first)
    assert again(sql, 2, on_duplicate="replace") == kept(first, differs=False)
    assert sql.job(first["id"]) == before | {"payload": {"n": 2}}


def test_replace_lets_a_running_job_be_and_enqueues_another(sql: Sql) -> None:
    first = again(sql, 1)
    run = sql.claim_one()
    second = again(sql, 2, on_duplicate="replace")
    assert second["created"] is True
    assert again(sql, 3, on_duplicate="replace") == kept(second)
    assert (sql.complete(run), sql.claim_one()["payload"]) == ("done", '{"n": 3}')
    assert sql.job(first["id"])["payload"] == {"n": 1}


# what a claim does, held still between its snapshot and its lock
CLAIM = """
with held as materialized (select pg_advisory_xact_lock(4711))
select p.* from held cross join lateral (
    select j.payload::text from jobforge.ready r join jobforge.jobs j on j.id = r.job_id
       for update of r skip locked) p"""


def test_a_claim_that_has_seen_the_job_before_its_payload_was_replaced_does_not_run_the_old_one(sql: Sql) -> None:
    """The payload is read with the snapshot of the claim, so it must not get the row that it has seen."""
    again(sql, 1)
    replacing, claiming, holder = sql.connect(tenant="a"), sql.connect("postgres"), sql.connect("postgres")
    enqueue(replacing, 2, on_duplicate="replace")
    assert sql.claim() == []  # passed over, not waited for
    holder.execute("select pg_advisory_xact_lock(4711)")
    future = sql.waits(claiming, lambda: claiming.execute(CLAIM).fetchall())
    replacing.commit()
    holder.rollback()
    assert future.result(10) == []
    claiming.rollback()
    assert sql.claim_one()["payload"] == '{"n": 2}'


def test_replace_waits_for_a_claim_and_then_enqueues_anew(sql: Sql) -> None:
    again(sql, 1)
    claiming, replacing = sql.connect("jf_worker"), sql.connect(tenant="a")
    options = {"worker_id": sql.worker, "queues": ["default"], "types": ["t"], "limit": 10}
    (run,) = call(claiming, "claim_jobs", **options)
    future = sql.waits(replacing, lambda: enqueue(replacing, 2, on_duplicate="replace"))
    claiming.commit()
    assert future.result(10)["created"] is True
    replacing.commit()
    assert [run["payload"], sql.claim_one()["payload"]] == ['{"n": 1}', '{"n": 2}']


def test_sixteen_that_replace_leave_one_waiting_job_with_one_of_their_payloads(sql: Sql) -> None:
    first = again(sql, 100, delay="1 hour")

    def one(n: int) -> Row:
        with sql.connect(tenant="a") as connection:
            return enqueue(connection, n, on_duplicate="replace")

    rows = sql.together([lambda n=n: one(n) for n in range(16)])  # type: ignore[misc]
    assert rows == [kept(first)] * 16
    assert sql.job(first["id"])["payload"]["n"] in range(16)


# --- merge: both payloads, made one by the caller -----------------------------------------------------------------


def test_merge_locks_the_waiting_job_until_the_caller_has_put_both_together(sql: Sql) -> None:
    first = again(sql, 1)
    connection = sql.connect(tenant="a")
    assert enqueue(connection, 2, on_duplicate="merge") == kept(first)
    assert sql.claim() == []
    assert enqueue(connection, 12, on_duplicate="replace") == kept(first)
    connection.commit()
    assert sql.claim_one()["payload"] == '{"n": 12}'


# --- in bulk --------------------------------------------------------------------------------------------------------


def bulk(sql: Sql, *items: Row) -> list[Row]:
    return sql("enqueue_jobs", tenant="a", jobs=Json([{"type": "t", **item} for item in items]))


def test_in_bulk_each_answers_at_its_place(sql: Sql) -> None:
    old = again(sql, 1)
    rows = bulk(
        sql,
        {"payload": {"n": 10}},
        {"unique_key": "k", "payload": {"n": 2}, "on_duplicate": "replace"},
        {"unique_key": "new", "payload": {"n": 3}},
        {"idempotency_key": "i"},
        {"unique_key": "new", "payload": {"n": 4}},
        {"idempotency_key": "i", "payload": {"n": 5}},
        {"unique_key": "new", "payload": {"n": 6}, "on_duplicate": "replace"},
    )
    assert [row["position"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
    assert [row["created"] for row in rows] == [True, False, True, True, False, False, False]
    assert [row["payload_differs"] for row in rows] == [False, True, False, False, True, True, True]
    assert rows[1]["id"] == old["id"]
    assert rows[4]["id"] == rows[6]["id"] == rows[2]["id"]
    assert sql.job(rows[2]["id"])["payload"] == {"n": 6}
    assert sql.job(old["id"])["payload"] == {"n": 2}


def test_in_bulk_a_name_that_is_escaped_is_the_same_name(sql: Sql) -> None:
    text = '[{"type": "t", "\\u0075nique_key": "k"}, {"type": "t", "unique_k\\u0065y": "k"}]'
    with sql.connect(tenant="a") as connection:
        rows = connection.execute("select created from jobforge.enqueue_jobs(%s)", [text]).fetchall()
    assert [row["created"] for row in rows] == [True, False]


def test_bulk_calls_with_keys_in_opposite_orders_do_not_deadlock(sql: Sql) -> None:
    def many(order: int) -> list[Row]:
        with sql.connect(tenant="a") as connection:
            items = [{"type": "t", "unique_key": f"k{n:03}", "on_duplicate": "replace"} for n in range(100)][::order]
            return call(connection, "enqueue_jobs", jobs=Json(items))

    rows = [row for rows in sql.together([lambda: many(1), lambda: many(-1)]) for row in rows]
    assert sum(row["created"] for row in rows) == 100


# --- what cannot be -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"unique_key": ""}, "unique_key must"),
        ({"unique_key": "x" * 201}, "unique_key must"),
        ({"idempotency_key": "i"}, "not both"),
        ({"on_duplicate": "drop"}, "keep, replace or merge"),
        ({"unique_key": None, "on_duplicate": "keep"}, "needs a unique_key"),
    ],
)
def test_what_cannot_be_is_refused_with_its_position(sql: Sql, options: Row, word: str) -> None:
    with refused("JF003", word):
        again(sql, **options)
    with refused("JF003", word, "position 2"):
        bulk(sql, {}, {"unique_key": "k", **options})


def test_keys_of_another_tenant_are_not_seen(sql: Sql) -> None:
    again(sql, tenant="b")
    with sql.connect(tenant="a") as connection:
        assert connection.execute("select * from jobforge.unique_keys").fetchall() == []


def test_a_purge_takes_the_keys_too(sql: Sql) -> None:
    again(sql)
    for _ in range(2):
        sql("purge_tenant", user="jf_admin", tenant_id="a")
    assert sql.look("select * from jobforge.unique_keys") == []
