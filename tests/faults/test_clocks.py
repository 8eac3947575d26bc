"""Machines whose clocks are wrong by an hour: nothing is early, late, expired or lost by that."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fix_postgres import Database
from tests.house.source import PACKAGE, name_of, python_files, tree_of
from tests.support import Sql, wait_for

# Python's wall clock, before anything of ours is loaded
SHIFTED = """
import datetime, sys, time
SHIFT = float(sys.argv[2])
right = time.time
time.time = lambda: right() + SHIFT
time.time_ns = lambda: int((right() + SHIFT) * 1e9)
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(right() + SHIFT, tz)
    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)
datetime.datetime = Shifted
"""
APPLICATION = (
    SHIFTED
    + """
import sqlalchemy as sa
from sqlalchemy.orm import Session
from jobforge_sa import Context, JobForge, Jobs, Worker

forge = JobForge(tenant="a")
hour = datetime.timedelta(hours=1)

@forge.task(timeout=datetime.timedelta(seconds=30))
def t(ctx: Context, payload: dict[str, str]) -> None: ...

engine = sa.create_engine(sys.argv[1])
with Session(engine) as session, session.begin():
    Jobs(session).enqueue(t, {"n": "now"})
    Jobs(session).enqueue(t, {"n": "soon"}, delay=datetime.timedelta(seconds=1))
    Jobs(session).enqueue(t, {"n": "later"}, delay=datetime.timedelta(minutes=10))
Worker(engine, forge, lease=datetime.timedelta(seconds=1), poll=datetime.timedelta(milliseconds=50)).run()
"""
)
WALL = re.compile(r"(time\.time(_ns)?|(date|datetime)\.(now|utcnow|today))$")
OUTSIDE = (
    "ops/",  # what is shown to people
    "testing/",  # servers for tests
    "webhooks.py",  # the clock of who receives them; a sender signs with the database's
    "tenant.py",  # a token of signed tenancy ends by the clock of whoever signs it
)


@pytest.mark.parametrize("shift", [3600, -3600], ids=["an hour ahead", "an hour behind"])
def test_fault_017_a_clients_and_a_workers_clock_decide_nothing(database: Database, tmp_path: Path, shift: int) -> None:
    program = tmp_path / "application.py"
    program.write_text(APPLICATION)
    url = database.url("jf_one").render_as_string(hide_password=False)
    command = [sys.executable, str(program), url, str(shift)]
    with Sql(database) as sql:
        process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": os.getcwd()})
        try:
            ended = "select count(*) as n from jobforge.outcomes where state = 'succeeded'"
            wait_for(lambda: sql.look(ended)[0]["n"] == 2, 20, "the two that are due")
            (waits,) = sql.look("select run_at - jobforge.now() as rest from jobforge.scheduled")
            assert 500 < waits["rest"].total_seconds() < 600
            soon = (
                "select a.claimed_at - j.run_at as late from jobforge.attempts a join jobforge.jobs j on j.id = job_id"
            )
            late = [row["late"].total_seconds() for row in sql.look(soon)]
            assert all(0 <= seconds < 600 for seconds in late), late  # an hour would be 3600
            assert [row["outcome"] for row in sql.look("select outcome from jobforge.attempts")] == ["succeeded"] * 2
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_fault_017_nothing_that_enqueues_or_works_asks_a_machine_for_the_time_of_day() -> None:
    found = [
        f"{name_of(file)}:{node.lineno}"
        for file in python_files("jobforge_sa")
        if not file.relative_to(PACKAGE).as_posix().startswith(OUTSIDE)
        for node in ast.walk(tree_of(file))
        if isinstance(node, ast.Attribute) and WALL.search(ast.unparse(node))
    ]
    assert found == []
