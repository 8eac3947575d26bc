"""Hints that get lost, come twice, or are nonsense: they only make a worker look sooner."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from jobforge_sa import Context, JobForge, Worker
from tests.faults.ground import said
from tests.fix_postgres import Database
from tests.support import Sql, wait_for

LISTENER = "datname = current_database() and query ~ '^(listen jobforge|select jobforge.doze)'"
LISTENERS = f"select count(*) as n from pg_stat_activity where {LISTENER}"
KILL = f"select count(pg_terminate_backend(pid, 5000)) as n from pg_stat_activity where {LISTENER}"
LONG = dt.timedelta(minutes=5)


def noting() -> tuple[JobForge, list[str]]:
    forge, ran = JobForge(tenant="a"), list[str]()

    @forge.task()
    def t(ctx: Context, payload: dict[str, str]) -> None:
        ran.append(payload["n"])

    return forge, ran


def put_to_sleep(worker: Worker) -> None:
    """As if nothing had come for long: the claimer sleeps for the five minutes of its poll."""
    bed, rest = worker._claimer._bed, worker._claimer._rest
    wait_for(lambda: bed.since is not None, what="the worker to ask to be woken")
    bed.since, rest.idle = -1e6, 20
    worker._claimer.wake()
    wait_for(lambda: rest.idle > 20, what="a claim that found nothing")


@contextmanager
def closed(sql: Sql) -> Iterator[None]:
    """Nobody can open a connection, for the block; those that are open stay."""
    sql.session("jf_app")
    admin, name = sql.session("postgres"), sql.database.name
    admin.execute(f"alter database {name} connection limit 0".encode())
    try:
        yield
    finally:
        admin.execute(f"alter database {name} connection limit -1".encode())


def test_fault_027_a_listener_that_was_killed_listens_again_and_finds_what_it_has_missed(database: Database) -> None:
    forge, ran = noting()
    engine, app = database.engine("jf_worker"), database.engine("jf_app")
    with Sql(database) as sql, Worker(engine, forge, session_engine=app, poll=LONG) as worker:
        for round_ in range(3):
            wait_for(lambda: sql.look(LISTENERS)[0]["n"] == 1, what="the listener")
            put_to_sleep(worker)
            with closed(sql):
                assert sql.look(KILL)[0]["n"] == 1
                sql.enqueue(payload={"n": f"in between {round_}"})
                assert len(ran) == round_
            wait_for(lambda r=round_: f"in between {r}" in ran, 10, "a look after the new LISTEN")  # type: ignore[misc]
        put_to_sleep(worker)
        sql.enqueue(payload={"n": "told"})
        wait_for(lambda: "told" in ran, 5, "a hint")


def test_fault_028_hints_that_are_nonsense_harm_no_listener(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody who may connect may notify. The listener calls nothing of the application's that could raise."""
    forge, ran = noting()
    with (
        caplog.at_level(logging.INFO, "jobforge_sa"),
        Sql(database) as sql,
        Worker(database.engine("jf_worker"), forge, session_engine=database.engine("jf_app"), poll=LONG) as worker,
    ):
        wait_for(lambda: sql.look(LISTENERS)[0]["n"] == 1, what="the listener")
        anybody = sql.session("jf_stranger")
        for hint in ("", "x" * 7999, "\u2028\x01'\"; drop table jobs --", ":cancel", ":cancel" * 3, "other queue"):
            anybody.execute("select pg_notify('jobforge', %s)", [hint])
        anybody.execute("select count(pg_notify('jobforge', 'default' || n)) from generate_series(1, 20000) n")
        put_to_sleep(worker)
        sql.enqueue(payload={"n": "after it"})
        wait_for(lambda: ran == ["after it"], 10, "a hint")
    assert not [line for line in said(caplog) if "trying again" in line]
