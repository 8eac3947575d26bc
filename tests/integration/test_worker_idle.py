"""What a worker costs while it has nothing to do, what it costs others while it has much, and what it keeps in memory."""

from __future__ import annotations

import subprocess
import sys
import time

import psycopg

from jobforge_sa import Context, JobForge, Worker
from tests.fix_postgres import Database
from tests.support import Sql, wait_for

QUERIES = "select xact_commit + xact_rollback as n from pg_stat_database where datname = current_database()"
forge = JobForge(tenant="a")


@forge.task()
def t(ctx: Context, payload: dict[str, int]) -> None: ...


def test_while_a_worker_has_enough_to_do_enqueues_send_no_hint_and_when_it_sleeps_they_do(database: Database) -> None:
    with Sql(database) as sql, psycopg.connect(database.dsn("jf_stranger"), autocommit=True) as listener:
        listener.execute("listen jobforge")
        sql.fill("a", 6000)
        singles = 0
        with Worker(database.engine("jf_worker"), forge) as worker:
            while worker.outcomes["succeeded"] < 4000:
                sql.enqueue()
                singles += 1
            under_load = len(list(listener.notifies(timeout=0)))
            wait_for(lambda: worker.outcomes["succeeded"] == 6000 + singles, 30, "the rest")
            wait_for(lambda: worker._claimer._bed.since is not None, what="the worker to ask to be woken")
            sql.enqueue()
            assert [note.payload for note in listener.notifies(timeout=5, stop_after=1)][-1:] == ["default"]
    assert singles > 10
    assert under_load <= singles / 2  # none, where no transaction takes 50 ms
