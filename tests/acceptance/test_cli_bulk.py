"""`jobforge jobs cancel-all|retry-all|reschedule-all`: what fits and nothing else, in batches."""

from __future__ import annotations

import json
import shlex
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs
from jobforge_sa.ops.jobs.bulk import Bulk
from jobforge_sa.ops.reader import writing
from tests.acceptance import cli_app
from tests.acceptance.cli import enqueue, inside, refused
from tests.fix_postgres import Database

MINE = ("--tenant", "acme")


def fill(database: Database, count: int, tenant: str = "acme") -> list[uuid.UUID]:
    with Session(database.engine("jf_one")) as session, session.begin():
        jobs = Jobs(session, tenant=tenant).enqueue_many([cli_app.send.new({"n": n}) for n in range(count)])
    return [job.id for job in jobs]


def states(database: Database, **of: str) -> dict[str, int]:
    query = "select state, count(*) from jobforge.all_jobs where tenant_id = :tenant group by state"
    with database.engine("jf_admin").connect() as connection:
        return dict(connection.execute(sa.text(query), of).all())


@pytest.mark.parametrize(
    ("user", "arguments", "whose"),
    [("jf_app", MINE, "the tenant acme"), ("jf_admin", MINE, "the tenant acme"), ("jf_one", MINE, "the tenant acme")],
)
def test_all_that_fit_are_canceled_brought_back_and_moved(
    database: Database, user: str, arguments: tuple[str, ...], whose: str
) -> None:
    url, given = database.url(user), (*arguments, "--yes", "--batch", "2")
    fill(database, 5)
    fill(database, 3, "theirs")

    assert inside(url, "jobs", "cancel-all", "--type", "other", *given).stdout == f"0 jobs of {whose} fit\n"
    assert inside(url, "jobs", "cancel-all", "--dry-run", *arguments).stdout == f"5 jobs of {whose} fit\n"
    done = inside(url, "jobs", "cancel-all", "--queue", "mail", "--since", "1h", *given).stdout.splitlines()
    assert done[-1] == f"5 jobs of {whose} are canceled"
    assert states(database, tenant="acme") == {"canceled": 5}
    assert inside(url, "jobs", "cancel-all", *given).stdout == f"0 jobs of {whose} fit\n"
    record = json.loads(inside(url, "jobs", "retry-all", "--state", "canceled", "--json", *given).stdout)
    assert record == {"found": 5, "changed": 5, "skipped": 0, "over_quota": 0, "cursor": None}
    done = inside(url, "jobs", "reschedule-all", "--at", "2h", "--until", "0s", *given).stdout.splitlines()
    assert done[-1] == f"5 jobs of {whose} are moved"
    assert states(database, tenant="acme") == {"scheduled": 5}
    assert states(database, tenant="theirs") == {"queued": 3}


def test_an_administrator_who_names_no_tenant_changes_all(database: Database) -> None:
    for tenant in ("acme", "theirs"):
        fill(database, 2, tenant)
    done = inside(database.url("jf_admin"), "jobs", "cancel-all", "--yes").stdout.splitlines()
    assert done[-1] == "4 jobs of all tenants are canceled"
    refused(inside(database.url("jf_app"), "jobs", "cancel-all", "--yes", status=2), "--tenant")


def test_what_cannot_be_is_refused_and_changes_nothing(database: Database) -> None:
    url = database.url("jf_admin")
    job = enqueue(database, cli_app.send, {})
    for arguments, words in (
        (("cancel-all",), "--yes"),
        (("cancel-all", "--state", "dead", "--yes"), "States: scheduled, queued, running"),
        (("retry-all", "--state", "queued", "--yes"), "States: dead, canceled"),
        (("reschedule-all", "--at", "yesterday", "--yes"), "write"),
        (("cancel-all", "--since", "2026-01-31T12:00", "--yes"), "zone"),
        (("cancel-all", "--since", "5m", "--until", "10m", "--yes"), "--since 10m --until 5m"),
        (("cancel-all", "--type", "bad name!", "--yes"), "A-Z a-z 0-9"),
        (("retry-all", "--queue", "q" * 300, "--yes"), "A-Z a-z 0-9"),
    ):
        refused(inside(url, "jobs", *arguments, status=2), words)
    assert states(database, tenant="acme") == {"queued": 1}, job


def test_who_is_asked_may_say_no(database: Database) -> None:
    fill(database, 2)
    for answer, state in ((False, "queued"), (True, "canceled")):
        with mock.patch("sys.stdin.isatty", return_value=True), mock.patch("typer.confirm", return_value=answer) as ask:
            inside(database.url("jf_admin"), "jobs", "cancel-all", status=0 if answer else 2)
        assert ask.call_args.args == ("2 jobs of all tenants will be canceled. Go on?",)
        assert states(database, tenant="acme") == {state: 2}


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_interrupt_leaves_what_is_done_and_says_how_to_go_on(database: Database, form: str) -> None:
    jobs = fill(database, 6)
    url = database.url("jf_admin")
    batches = 0
    whole = Bulk._batch

    def interrupted(work: Bulk, cursor: uuid.UUID | None, **given: Any) -> Any:
        nonlocal batches
        batches += not given.get("dry_run", False)
        if batches == 3:
            raise KeyboardInterrupt
        return whole(work, cursor, **given)

    given = ("--yes", "--batch", "2", "--type", "send", "--since", "1h", *(["--json"] if form == "json" else []))
    with mock.patch.object(Bulk, "_batch", interrupted):
        done = inside(url, "jobs", "cancel-all", *given, status=130)
    said, command = done.stderr.splitlines()
    assert said == "interrupted: 4 of 6 jobs are canceled"
    assert states(database, tenant="acme") == {"queued": 2, "canceled": 4}
    if form == "json":
        assert json.loads(done.stdout)["cursor"] == str(jobs[2])
    words = shlex.split(command.removeprefix("go on: jobforge "))
    assert words[-2:] == ["--cursor", str(jobs[2])]
    assert words[words.index("--since") + 1].endswith("Z")
    assert inside(url, *words, "--yes").stdout.splitlines()[-1] == "2 jobs of all tenants are canceled"


def test_a_claim_that_is_under_way_is_met_in_a_moment(database: Database) -> None:
    fill(database, 3)
    claiming = database.engine("jf_worker").connect()
    claim = "select job_id from jobforge.claim_jobs(gen_random_uuid(), '{mail}', '{send}', 1)"
    claiming.execute(sa.text(claim)).all()
    with mock.patch("time.sleep", side_effect=lambda _: claiming.commit()):
        done = inside(database.url("jf_admin"), "jobs", "cancel-all", "--yes")
    claiming.close()
    assert done.stdout.splitlines()[-1] == "3 jobs of all tenants are canceled"
    assert states(database, tenant="acme") == {"running": 1, "canceled": 2}


def test_a_quota_is_the_reason_that_is_told_with_what_was_done_and_how_to_go_on(database: Database) -> None:
    admin, app = database.url("jf_admin"), database.url("jf_app")
    for tenant in ("acme", "theirs"):
        fill(database, 6, tenant)
    inside(admin, "jobs", "cancel-all", "--yes")
    inside(admin, "tenants", "limit", "acme", "--max-waiting", "4")

    stopped = inside(app, "jobs", "retry-all", "--yes", "--batch", "2", *MINE, status=2)
    said, command, error, cure = stopped.stderr.splitlines()
    assert said == "stopped: 4 of 6 jobs are brought back"
    assert error.startswith("error: the tenant's quota of 4 waiting jobs is used up")
    assert cure.endswith("jobforge tenants limit TENANT --max-waiting N")
    everybody = inside(admin, "jobs", "retry-all", "--yes").stdout.splitlines()[-1]
    assert everybody == (
        "6 jobs of all tenants are brought back; 2 were skipped: their tenants have as many waiting jobs as they may "
        "(jobforge tenants list)"
    )
    inside(admin, "tenants", "limit", "acme", "--max-waiting", "6")
    words = shlex.split(command.removeprefix("go on: jobforge "))
    assert inside(app, *words, "--yes").stdout.splitlines()[-1] == "2 jobs of the tenant acme are brought back"


def test_an_interrupt_right_behind_a_commit_counts_what_was_committed(database: Database) -> None:
    fill(database, 6)
    left = iter([False, False, True])  # the count and a batch, then this one

    @contextmanager
    def interrupted(*given: Any) -> Iterator[Any]:
        with writing(*given) as reader:
            yield reader
        if next(left):
            signal.raise_signal(signal.SIGINT)

    with mock.patch("jobforge_sa.ops.jobs.bulk.writing", interrupted):
        done = inside(database.url("jf_admin"), "jobs", "cancel-all", "--yes", "--batch", "2", status=130)
    assert done.stderr.startswith("interrupted: 4 of 6 jobs are canceled")
    assert states(database, tenant="acme") == {"queued": 2, "canceled": 4}


def test_one_job_is_one(database: Database) -> None:
    fill(database, 1)
    assert inside(database.url("jf_admin"), "jobs", "cancel-all", "--dry-run").stdout == "1 job of all tenants fits\n"
    done = inside(database.url("jf_admin"), "jobs", "cancel-all", "--yes").stdout.splitlines()
    assert done[-1] == "1 job of all tenants is canceled"


def test_a_subject_that_names_no_row_is_doubted(database: Database) -> None:
    done = inside(database.url("jf_admin"), "jobs", "cancel-all", "--subject", "???", "--dry-run")
    assert done.stdout == "0 jobs of all tenants fit\n"
    assert done.stderr.startswith("note: a subject is a table and a key, such as orders:42")
