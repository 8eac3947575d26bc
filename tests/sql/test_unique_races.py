"""Unique keys and waits against everything else that moves jobs: on two connections, in named steps, and at random."""

from __future__ import annotations

import random
import time
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from tests.support import Connection, Row, Sql, call, item


def enqueue(connection: Connection, n: int = 1, **options: Any) -> Row:
    (row,) = call(connection, "enqueue_job", **{"type": "t", "unique_key": "k", "payload": {"n": n}, **options})
    return row


def again(sql: Sql, n: int = 2, tenant: str = "a", **options: Any) -> Row:
    given = {"type": "t", "unique_key": "k", "payload": {"n": n}, **options}
    (row,) = sql("enqueue_job", tenant=tenant, **given)
    return row


def listen(sql: Sql, channel: str) -> Connection:
    connection = sql.connect("jf_app")
    connection.autocommit = True
    connection.execute(f"listen {channel}".encode())
    return connection


# --- who waits for whom -------------------------------------------------------------------------------------------


def test_a_purge_and_an_enqueue_that_replaces_wait_for_each_other_in_one_order(sql: Sql) -> None:
    """Both want a key and its job's place; a purge that took the place first would deadlock."""
    first = again(sql, 1)
    sql.enqueue("a", idempotency_key="i")
    holder, purging, replacing = sql.connect("postgres"), sql.connect("jf_admin"), sql.connect(tenant="a")
    holder.execute("select from jobforge.idempotency_keys for update")  # a purge stands still here, with all places
    purge = sql.waits(purging, lambda: call(purging, "purge_tenant", tenant_id="a"))
    replace = sql.waits(replacing, lambda: enqueue(replacing, 2, on_duplicate="replace"))
    holder.rollback()
    assert purge.result(10)[0]["purge_tenant"] == 2
    purging.commit()
    row = replace.result(10)
    replacing.commit()
    assert (row["created"], row["id"] != first["id"]) == (True, True)
    assert sql.claim_one()["payload"] == '{"n": 2}'


def test_a_payload_that_is_replaced_wakes_workers_for_they_have_passed_its_job_over(sql: Sql) -> None:
    listener = sql.asleep("q")
    again(sql, 1, queue="q", notify=False)
    with sql.connect(tenant="a") as replacing:
        enqueue(replacing, 2, on_duplicate="replace")
        assert sql.claim(queues=["q"]) == []  # and its worker goes to sleep
    assert [hint.payload for hint in listener.notifies(timeout=5, stop_after=1)] == ["q"]
    with sql.connect(tenant="a") as replacing:
        enqueue(replacing, 3, on_duplicate="replace", notify=False)
    again(sql, 1, unique_key="later", delay="1 hour")
    again(sql, 2, unique_key="later", on_duplicate="replace")
    assert list(listener.notifies(timeout=0.2)) == []


@pytest.mark.parametrize("on_duplicate", ["replace", "merge"])
@pytest.mark.parametrize("suspect", [False, True])
def test_a_tenant_that_keeps_a_waiting_job_locked_holds_up_nobody_else(
    sql: Sql, on_duplicate: str, *, suspect: bool
) -> None:
    clock = sql.clock()
    for key, delay in (("queued", None), ("due", "1 second")):
        again(sql, 1, unique_key=key, delay=delay)
    if suspect:
        sql.session("postgres").execute("update jobforge.ready set crashes = 2")
    clock.advance(seconds=2)
    holding = sql.connect(tenant="a")
    for key in ("queued", "due"):
        enqueue(holding, 2, unique_key=key, on_duplicate=on_duplicate)
    sql.session("jf_worker").execute("set lock_timeout = '1s'")
    others = [sql.enqueue("b"), sql.enqueue("b", delay="1 second")]
    clock.advance(seconds=2)
    runs = sql.claim()
    assert {run["job_id"] for run in runs} == set(others)
    assert [sql.complete(run, outcome) for run, outcome in zip(runs, ["succeeded", "failed"], strict=True)] == [
        "done"
    ] * 2
    sql("cancel_job", tenant="b", job_id=sql.enqueue("b"))
    assert sql.suspects() == []
    steps = {row["step"]: row["moved"] for row in sql("upkeep", worker_id=sql.worker)}
    assert steps["promoted"] == 0
    holding.rollback()
    assert len(sql.claim()) + len(sql.suspects()) >= 1


def test_ten_thousand_in_one_call_take_seconds_and_not_the_square_of_them(sql: Sql) -> None:
    items = [{"type": "t", "unique_key": f"k{n}"} for n in range(10_000)]
    began = time.monotonic()
    rows = sql("enqueue_jobs", tenant="a", jobs=Json(items))
    assert time.monotonic() - began < 8  # 2 s were seen, and 17 s as long as each answer copied those before it
    assert [row["position"] for row in rows] == [*range(1, 10_001)]


# --- waits ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
def test_a_wait_that_is_renewed_does_not_make_a_completion_above_read_committed_fail(sql: Sql, isolation: str) -> None:
    """A handler's transaction is older than the renewed wait: it must not meet a row newer than its snapshot."""
    job = sql.enqueue()
    run = sql.claim_one()
    sql("await_job", tenant="a", job_id=job)
    with sql.connect(tenant="a", isolation=isolation) as handler:
        handler.execute("select * from jobforge.jobs")
        sql("await_job", tenant="a", job_id=job)
        listener = listen(sql, "jobforge_done")
        assert call(handler, "complete_jobs", results=Json([item(run)]))[0]["answer"] == "done"
    assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1


# --- at random -----------------------------------------------------------------------------------------------------


class Storm:
    """Ten threads, each its own connection, do what they like to three keys."""

    def __init__(self, sql: Sql) -> None:
        self.sql = sql
        self.refusals: list[str] = []

    def thread(self, seed: int) -> None:
        chance = random.Random(seed)
        app = psycopg.connect(self.sql.database.dsn("jf_app"), row_factory=psycopg.rows.dict_row)
        worker = psycopg.connect(self.sql.database.dsn("jf_worker"), row_factory=psycopg.rows.dict_row, autocommit=True)
        with app, worker:
            for _ in range(60):
                try:
                    chance.choice([self.enqueue, self.enqueue, self.enqueue, self.work, self.change])(
                        chance, app, worker
                    )
                except psycopg.Error as error:
                    app.rollback()
                    self.refusals.append(error.sqlstate or str(error))

    def enqueue(self, chance: random.Random, app: Connection, _: Connection) -> None:
        app.execute("select set_config('jobforge.tenant_id', 'a', true)")
        delay = chance.choice([None, None, "1 millisecond", "1 hour"])
        options = {"unique_key": f"k{chance.randrange(3)}", "delay": delay}
        row = enqueue(app, chance.randrange(100), on_duplicate=chance.choice(["keep", "replace", "merge"]), **options)
        if chance.random() < 0.2:
            return app.rollback()
        if not row["created"]:
            enqueue(app, chance.randrange(100), on_duplicate="replace", **options)
        return app.commit()

    def work(self, chance: random.Random, _: Connection, worker: Connection) -> None:
        given = {"worker_id": self.sql.worker, "queues": ["default"], "types": ["t"]}
        runs = call(worker, "claim_jobs", limit=2, **given)
        if chance.random() < 0.2:
            runs += call(worker, "claim_suspect", **given)
        for run in runs:
            outcome = chance.choice(["succeeded", "failed", "released", "canceled", "snoozed", "lost"])
            if outcome == "lost":  # the lease stays, and is left to a rescue
                continue
            call(worker, "complete_jobs", results=Json([item(run, outcome, delay=chance.choice([0, 1]))]))
        if chance.random() < 0.3:
            call(worker, "heartbeat_jobs", worker_id=self.sql.worker, alive="0")
            call(worker, "upkeep", worker_id=self.sql.worker)

    def change(self, chance: random.Random, app: Connection, _: Connection) -> None:
        app.execute("select set_config('jobforge.tenant_id', 'a', true)")
        found = app.execute("select id from jobforge.all_jobs order by random() limit 1").fetchone()
        if found is not None:
            what = chance.choice(["cancel_job", "retry_job", "reschedule_job", "await_job"])
            call(app, what, job_id=found["id"])
        app.commit()


def test_whatever_ten_do_to_three_keys_each_job_stands_in_one_place_and_nothing_deadlocks(sql: Sql) -> None:
    storm = Storm(sql)
    sql.together([lambda seed=seed: storm.thread(seed) for seed in range(10)])  # type: ignore[misc]
    assert set(storm.refusals) <= {"JF008"}, storm.refusals
    assert sql("audit") == []
    keys = sql.look("select k.key, count(*) as n from jobforge.unique_keys k group by k.key")
    assert all(row["n"] == 1 for row in keys)
