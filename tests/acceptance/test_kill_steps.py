"""kill -9 between every two statements of a handler, its completion and its COMMIT among them (G2, G4)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs
from tests.acceptance import steps_app
from tests.acceptance.cli import ROOT
from tests.fix_postgres import Database
from tests.support import wait_for

REHEARSAL = -1
EFFECTS = "select step, part, count(*) from effects group by step, part"
ENDS = "select state, attempt, count(*) from jobforge.outcomes group by state, attempt"
RUNS = "select outcome, count(*) from jobforge.attempts group by outcome"
CHILDREN = """
select (p.payload ->> 'step')::int, count(*) from jobforge.jobs p join jobforge.jobs c on c.parent_id = p.id group by 1
"""


def program(database: Database, *arguments: str) -> list[str]:
    url = database.url("jf_one").render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tests.acceptance.steps_app", arguments[0], url, *arguments[1:]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def short(statement: str) -> str:
    words = ("enqueue_jobs", "enqueue_job", "complete_jobs", "set_config", "RELEASE", "SAVEPOINT", "INSERT", "SELECT")
    return next(word for word in (*words, statement) if word in statement)


def rows(c: sa.Connection, query: str) -> list[tuple[object, ...]]:
    return sorted(tuple(row) for row in c.execute(sa.text(query)))


def enqueue(engine: sa.Engine, task: str, steps: Iterable[int]) -> None:
    with Session(engine) as session, session.begin():
        Jobs(session).enqueue_many([steps_app.forge.tasks[task].new(steps_app.Step(step=step)) for step in steps])


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "SERIALIZABLE"])
@pytest.mark.parametrize("task", ["work", "work_async"])
def test_fault_001_002_killed_at_any_step_a_handlers_effects_and_its_end_are_there_exactly_once(
    database: Database, task: str, isolation: str
) -> None:
    admin, engine = database.engine(), database.engine("jf_one")
    steps_app.Base.metadata.create_all(admin)
    with admin.begin() as c:
        c.execute(sa.text("grant all on effects, effects_id_seq to jf_one"))
    enqueue(engine, task, [REHEARSAL])
    (said,) = program(database, "rehearse", isolation, "0")
    told = [short(name) for name in json.loads(said)]
    assert told[-3:] == ["complete_jobs", "COMMIT", "behind the COMMIT"]
    assert {"set_config", "INSERT", "SAVEPOINT", "RELEASE", "enqueue_job", "enqueue_jobs", "SELECT"} < {*told}

    jobs = range(len(told))
    enqueue(engine, task, jobs)
    assert [short(json.loads(line)) for line in program(database, "kill", isolation, str(len(told)))] == told

    url = database.url("jf_one").render_as_string(hide_password=False)
    looking = admin.connect().execution_options(isolation_level="AUTOCOMMIT")
    with steps_app.worker(url, isolation), looking as c:
        ended = sa.text("select count(*) = :all from jobforge.outcomes")
        wait_for(lambda: c.scalar(ended, {"all": 1 + len(told)}), 30, "all jobs to end")
        parts = [(step, part, 1) for step in (REHEARSAL, *jobs) for part in ("last", "row", "savepoint")]
        assert rows(c, EFFECTS) == parts
        assert rows(c, CHILDREN) == [(step, 3) for step in (REHEARSAL, *jobs)]
        assert rows(c, ENDS) == [("succeeded", 1, 1 + len(told))]
        assert rows(c, RUNS) == [("lost", len(told) - 1), ("succeeded", 1 + len(told))]  # one died when all was done
