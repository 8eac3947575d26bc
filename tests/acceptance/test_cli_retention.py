"""`jobforge retention …` and `jobforge prune`: how they look, and what they refuse."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs
from tests.acceptance import cli_app
from tests.acceptance.cli import inside, refused
from tests.fix_postgres import Database

AT_FIRST = """\
KIND             TYPE  KEPT
canceled         all   7d
dead             all   90d
idempotency_key  all   90d
result           all   as long as its job
succeeded        all   7d
"""


def test_what_is_kept_is_shown_changed_and_pruned(database: Database) -> None:
    admin = database.url("jf_admin")
    assert inside(admin, "retention").stdout == AT_FIRST
    assert inside(admin, "retention", "set", "succeeded", "0s", "--type", "send").stdout == (
        "succeeded of the type send: 0ms\n"
    )
    assert inside(admin, "retention", "set", "canceled", "7d", "--type", "send", "--newest", "1000").stdout == (
        "canceled of the type send: 7d, the newest 1,000\n"
    )
    inside(admin, "retention", "drop", "canceled", "--type", "send")
    assert inside(admin, "retention", "set", "dead", "forever").stdout == "dead: for ever\n"
    assert inside(admin, "retention", "set", "canceled", "1d12h").stdout == "canceled: 36h00m\n"
    assert inside(admin, "retention").stdout.splitlines()[-1].split() == ["succeeded", "send", "0ms"]
    first = json.loads(inside(admin, "retention", "--json").stdout.splitlines()[0])
    assert first == {"kind": "canceled", "type": None, "keep": 129_600.0, "newest": None}

    with Session(database.engine("jf_one")) as session, session.begin():
        Jobs(session, tenant="a").enqueue_many([cli_app.send.new({"n": n}) for n in range(2500)])
    with database.engine("jf_worker").begin() as connection:
        runs = connection.execute(
            sa.text("select * from jobforge.claim_jobs(gen_random_uuid(), '{mail}', '{send}', 2500)")
        ).all()
        ends = [{"job_id": str(r.job_id), "lease_token": str(r.lease_token), "outcome": "succeeded"} for r in runs]
        connection.execute(sa.text("select from jobforge.complete_jobs(cast(:e as json))"), {"e": json.dumps(ends)})
    pruned = inside(admin, "prune")
    assert pruned.stdout == "deleted 2,500 jobs, 0 results of jobs that stay, 0 idempotency keys\n"
    assert json.loads(inside(admin, "prune", "--json").stdout) == {"jobs": 0, "results": 0, "idempotency_keys": 0}

    assert inside(admin, "retention", "drop", "succeeded", "--type", "send").stdout == (
        "succeeded of the type send: as every type\n"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("retention", "set", "succeeded", "soon"), "'soon' is no duration"),
        (("retention", "set", "result", "1d", "--newest", "5"), "newest must be 1 or more"),
        (("retention", "set", "queued", "1d"), "nothing is kept that is called 'queued'"),
        (("retention", "set", "dead", "99999999w"), "dead can be kept for 0 to 36,500 days"),
        (("retention", "drop", "dead", "--type", "send"), "nothing is said of dead of the type send"),
    ],
)
def test_what_cannot_work_is_refused_with_its_cure(database: Database, arguments: tuple[str, ...], words: str) -> None:
    refused(inside(database.url("jf_admin"), *arguments, status=2), words)


def test_only_administrators_prune(database: Database) -> None:
    refused(inside(database.url("jf_app"), "prune", status=2), "jobforge_admin")
    refused(inside(database.url("jf_app"), "retention", status=2), "jobforge_admin")


def test_what_is_too_many_is_counted_and_deleted_by_one_command(database: Database) -> None:
    admin = database.url("jf_admin")
    with Session(database.engine("jf_one")) as session, session.begin():
        Jobs(session, tenant="a").enqueue_many([cli_app.send.new({"n": n}) for n in range(20)])
    inside(admin, "jobs", "cancel-all", "--yes")
    inside(admin, "retention", "set", "canceled", "forever", "--newest", "3")
    assert inside(admin, "prune").stdout.startswith("deleted 17 jobs")
    with Session(database.engine("jf_one")) as session:
        assert len(Jobs(session, tenant="a").list().jobs) == 3
