"""Hints go to who sleeps, and to nobody else: a commit that notifies waits for a lock over the whole cluster."""

from __future__ import annotations

import time

import pytest

from tests.support import Sql, call, wait_for


def test_where_no_worker_sleeps_no_hint_is_sent(sql: Sql) -> None:
    listener = sql.asleep("other")
    for _ in range(20):
        sql.enqueue()
    sql.enqueue(queue="other")
    heard = [note.payload for note in listener.notifies(timeout=5, stop_after=21)]
    assert heard[-1] == "other"
    assert len(heard) < 20  # a machine that stands still for 50 ms makes a transaction old, but not all of them


def test_who_gets_up_or_leaves_is_woken_no_more_and_the_others_are(sql: Sql) -> None:
    first, second, third = sql.asleep("q", "r"), sql.asleep("q"), sql.asleep("q")
    assert call(first, "doze", queues=["q", "r"], asleep=None) == [{"doze": True}]  # the default: it sleeps on
    assert call(first, "doze", queues=["q", "r", "r"], asleep=False) == [{"doze": True}]
    second.close()
    sql.enqueue(queue="q")
    assert [note.payload for note in third.notifies(timeout=5, stop_after=1)] == ["q"]
    assert call(third, "doze", queues=["q"], asleep=False) == [{"doze": True}]
    held = ("select from pg_locks where locktype = 'advisory' and database = (select oid from pg_database "
            "where datname = current_database())")  # fmt: skip
    wait_for(lambda: not sql.look(held), what="the backend of the one that left to end")


def test_whoever_has_asked_leaves_nothing_behind_that_keeps_a_worker_from_sleeping(sql: Sql) -> None:
    with sql.connect(tenant="a") as application:
        for _ in range(3):
            call(application, "enqueue_job", type="t", payload={}, queue="q")
        sql.asleep("q")  # fails where the answer is false


def test_a_transaction_that_was_open_for_long_sends_its_hint_for_it_cannot_know_who_sleeps_at_its_end(sql: Sql) -> None:
    with sql.connect(tenant="a") as application:
        time.sleep(0.06)
        call(application, "enqueue_job", type="t", payload={}, queue="q")
        listener = sql.asleep("q")
    assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == ["q"]


def test_a_worker_that_cannot_say_that_it_sleeps_holds_nothing(sql: Sql) -> None:
    spoiler = sql.session("jf_stranger")  # or somebody who is asking at this very moment
    spoiler.execute("select pg_advisory_lock(1785686131, hashtext('r'))")
    listener = sql.connect("jf_worker")
    assert call(listener, "doze", queues=["q", "r"]) == [{"doze": False}]
    spoiler.execute("select pg_advisory_unlock_all()")
    assert spoiler.execute("select pg_try_advisory_xact_lock(1785686131, hashtext('q')) as free").fetchall() == [
        {"free": True}
    ]


def test_the_end_of_a_run_wakes_who_can_run_the_next_of_its_line_wherever_that_waits(sql: Sql) -> None:
    listener = sql.asleep("r")
    sql.enqueue(queue="q", ordering_key="one")
    sql.enqueue(queue="r", ordering_key="one")
    first = sql.claim_one(queues=["q"])
    assert sql.claim(queues=["r"]) == []
    list(listener.notifies(timeout=0))
    sql.complete(first)
    assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == ["r"]


@pytest.mark.parametrize(("scope", "name"), [("tenant", "a"), ("queue", "q"), ("task", "t")])
def test_the_end_of_a_limited_run_wakes_who_can_run_what_the_limit_kept_back(sql: Sql, scope: str, name: str) -> None:
    with sql.connect("jf_admin") as admin:
        admin.execute(f"select jobforge.limit_{scope}(%s, %s)", [name, '{"max_running": 1}'])
    listener = sql.asleep("q")
    sql.fill("a", 2, queue="q")
    (run,) = sql.claim(queues=["q"])
    list(listener.notifies(timeout=0))
    sql.complete(run)
    assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)] == ["q"]


def test_the_end_of_the_last_of_a_line_sends_no_hint(sql: Sql) -> None:
    listener = sql.asleep("q")
    sql.enqueue(queue="q", ordering_key="one")
    run = sql.claim_one(queues=["q"])
    list(listener.notifies(timeout=0))
    sql.complete(run)
    assert list(listener.notifies(timeout=0.2)) == []
