"""kill -9 between every two statements of a handler, its completion and its COMMIT among them (G2, G4)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import sqlalchemy as sa

from tests.acceptance import steps_app
from tests.acceptance.cli import ROOT
from tests.acceptance.steps_app import REHEARSAL
from tests.fix_postgres import Database
from tests.support import wait_for

EFFECTS = "select step, part, count(*) from effects group by step, part"
ENDS = "select state, attempt, count(*) from jobforge.outcomes group by state, attempt"
RUNS = "select outcome, count(*) from jobforge.attempts group by outcome"
CHILDREN = """
select (p.payload ->> 'step')::int, count(*) from jobforge.jobs p join jobforge.jobs c on c.parent_id = p.id group by 1
"""


def killed_at_each_step(database: Database, task: str, isolation: str) -> list[str]:
    """What the handler's connection was told, in short; before each of it one worker has died, and all jobs ended."""
    admin, url = database.engine(), database.url("jf_one").render_as_string(hide_password=False)
    steps_app.Base.metadata.create_all(admin)
    with admin.begin() as c:
        c.execute(sa.text("grant all on effects, effects_id_seq to jf_one"))
    command = [sys.executable, "-m", "tests.acceptance.steps_app", url, task, isolation]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    names, *last_words = [json.loads(line) for line in done.stdout.splitlines()]
    told = [short(name) for name in names]
    assert [short(word) for word in last_words] == told

    looking = admin.connect().execution_options(isolation_level="AUTOCOMMIT")
    with steps_app.worker(url, isolation), looking as c:
        ended = sa.text("select count(*) = :all from jobforge.outcomes")
        wait_for(lambda: c.scalar(ended, {"all": 1 + len(told)}), 30, "all jobs to end")
    return told


def short(statement: str) -> str:
    words = ("enqueue_payloads", "enqueue_job", "complete_jobs", "heartbeat_job", "set_config", "RELEASE", "SAVEPOINT")
    return next(word for word in (*words, "INSERT", "SELECT", statement) if word in statement)


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.engine().connect() as c:
        return sorted(tuple(row) for row in c.execute(sa.text(query)))


def each_ended_once(database: Database, told: list[str]) -> bool:
    """Each job has succeeded, in a second run where its first was lost; one died when all was done."""
    return rows(database, ENDS) == [("succeeded", 1, 1 + len(told))] and rows(database, RUNS) == [
        ("lost", len(told) - 1),
        ("succeeded", 1 + len(told)),
    ]


@pytest.mark.parametrize(
    ("task", "isolation"),
    [
        ("work", "READ COMMITTED"),
        ("work_async", "READ COMMITTED"),
        ("work", "REPEATABLE READ"),
        ("work", "SERIALIZABLE"),
        ("work_async", "SERIALIZABLE"),
    ],
)
def test_fault_001_002_killed_at_any_step_a_handlers_effects_and_its_end_are_there_exactly_once(
    database: Database, task: str, isolation: str
) -> None:
    told = killed_at_each_step(database, task, isolation)
    assert told[-3:] == ["complete_jobs", "COMMIT", "behind the COMMIT"]
    assert {"set_config", "INSERT", "SAVEPOINT", "RELEASE", "enqueue_job", "enqueue_payloads", "SELECT"} < {*told}

    steps = (REHEARSAL, *range(len(told)))
    assert rows(database, EFFECTS) == [(step, part, 1) for step in steps for part in ("last", "row", "savepoint")]
    assert rows(database, CHILDREN) == [(step, 3) for step in steps]
    assert each_ended_once(database, told)


@pytest.mark.parametrize(
    ("task", "isolation"),
    [("commits", "READ COMMITTED"), ("commits_async", "SERIALIZABLE")],
)
def test_fault_001_002_killed_at_any_step_a_handler_that_commits_keeps_what_it_committed_and_ends_once(
    database: Database, task: str, isolation: str
) -> None:
    """Each run writes "tried": it is there twice where the first run had committed it. "once" is recognised."""
    told = killed_at_each_step(database, task, isolation)
    assert [told.count(name) for name in ("COMMIT", "heartbeat_job", "complete_jobs")] == [3, 2, 1]
    assert told[-3:] == ["complete_jobs", "COMMIT", "behind the COMMIT"]

    steps = (REHEARSAL, *range(len(told)))
    twice = range(told.index("COMMIT") + 1, len(told) - 1)  # died behind the first commit, and before the end of all
    assert rows(database, EFFECTS) == [
        effect
        for step in steps
        for effect in ((step, "last", 1), (step, "once", 1), (step, "tried", 1 + (step in twice)))
    ]
    assert rows(database, CHILDREN) == [(step, 2) for step in steps]
    assert each_ended_once(database, told)
