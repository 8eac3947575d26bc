"""Hints that get lost, come twice, or are nonsense: they only make a worker look sooner."""

from __future__ import annotations

import datetime as dt
import logging

import pytest

from jobforge_sa import Context, JobForge, Worker
from tests.faults.ground import said
from tests.fix_postgres import Database
from tests.support import Sql, wait_for

LISTENERS = """
select count(*) as n from pg_stat_activity where datname = current_database() and query = 'listen jobforge'"""
KILL = """
select count(pg_terminate_backend(pid, 5000)) as n from pg_stat_activity
 where datname = current_database() and query = 'listen jobforge'"""
LONG = dt.timedelta(minutes=5)


def noting() -> tuple[JobForge, list[str]]:
    forge, ran = JobForge(tenant="a"), list[str]()

    @forge.task()
    def t(ctx: Context, payload: dict[str, str]) -> None:
        ran.append(payload["n"])

    return forge, ran


def test_fault_027_a_listener_that_was_killed_listens_again_and_finds_what_it_has_missed(database: Database) -> None:
    """The worker polls each five minutes only: what it finds in between, it was told of or looked for."""
    forge, ran = noting()
    with Sql(database) as sql, Worker(database.engine("jf_worker"), forge, session_engine=database.engine("jf_app"),
                                      poll=LONG):  # fmt: skip
        for round_ in range(3):
            wait_for(lambda: sql.look(LISTENERS)[0]["n"] == 1, what="the listener")
            assert sql.look(KILL)[0]["n"] == 1
            sql.enqueue(payload={"n": f"in between {round_}"})
            wait_for(lambda r=round_: f"in between {r}" in ran, 10, "a look after the new LISTEN")  # type: ignore[misc]
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
        Worker(database.engine("jf_worker"), forge, session_engine=database.engine("jf_app"), poll=LONG),
    ):
        wait_for(lambda: sql.look(LISTENERS)[0]["n"] == 1, what="the listener")
        anybody = sql.session("jf_stranger")
        for hint in ("", "x" * 7999, "\u2028\x01'\"; drop table jobs --", ":cancel", ":cancel" * 3, "other queue"):
            anybody.execute("select pg_notify('jobforge', %s)", [hint])
        anybody.execute("select count(pg_notify('jobforge', 'default' || n)) from generate_series(1, 20000) n")
        sql.enqueue(payload={"n": "after it"})
        wait_for(lambda: ran == ["after it"], 10, "a hint")
    assert not [line for line in said(caplog) if "trying again" in line]
