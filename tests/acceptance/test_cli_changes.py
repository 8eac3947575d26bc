"""`jobforge jobs cancel|retry|reschedule` and `jobforge why`: an operator never writes a raw UPDATE."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid

import pytest
import sqlalchemy as sa

from jobforge_sa import Tenants
from tests.acceptance import cli_app
from tests.acceptance.cli import enqueue, inside, refused
from tests.fix_postgres import Database

MINE = ("--tenant", "acme")


def state(database: Database, job: uuid.UUID) -> str:
    with database.engine("jf_admin").connect() as connection:
        return str(connection.scalar(sa.text("select state from jobforge.all_jobs where id = :id"), {"id": job}))


@pytest.mark.parametrize(
    ("user", "arguments"), [("jf_app", MINE), ("jf_admin", ()), ("jf_admin", MINE), ("jf_one", ())]
)
def test_a_job_is_canceled_retried_and_rescheduled(database: Database, user: str, arguments: tuple[str, ...]) -> None:
    url = database.url(user)
    job = enqueue(database, cli_app.send, {"to": "a"})

    assert inside(url, "jobs", "cancel", str(job), *arguments).stdout == f"{job}  queued -> canceled\n"
    assert inside(url, "jobs", "cancel", str(job), *arguments).stdout == f"{job}  canceled\n"
    assert inside(url, "jobs", "retry", str(job), *arguments).stdout == f"{job}  canceled -> queued\n"
    later = inside(url, "jobs", "reschedule", str(job), "--at", "2h", *arguments).stdout
    assert re.fullmatch(rf"{job}  queued -> scheduled, due at 20\S+ \S+ UTC\n", later)
    exact = inside(url, "jobs", "reschedule", str(job), "--at", "2100-01-31T12:00+02:00", *arguments).stdout
    assert exact == f"{job}  scheduled, due at 2100-01-31 10:00:00 UTC\n"
    assert inside(url, "jobs", "reschedule", str(job), *arguments).stdout == f"{job}  scheduled -> queued\n"
    assert json.loads(inside(url, "jobs", "cancel", str(job), "--json", *arguments).stdout)["state"] == "canceled"
    assert state(database, job) == "canceled"


def test_of_several_jobs_one_that_cannot_be_changed_stops_no_other(database: Database) -> None:
    first, waiting, last = (enqueue(database, cli_app.send, {}) for _ in range(3))
    for job in (first, last):
        inside(database.url("jf_admin"), "jobs", "cancel", str(job))
    done = inside(database.url("jf_admin"), "jobs", "retry", str(first), str(waiting), str(last), status=2)
    assert done.stdout == f"{first}  canceled -> queued\n{last}  canceled -> queued\n"
    assert f"error: job {waiting}: only a dead or canceled job can be retried" in done.stderr


@pytest.mark.parametrize("command", ["cancel", "retry", "reschedule"])
def test_another_tenants_job_is_none(database: Database, command: str) -> None:
    theirs = enqueue(database, cli_app.send, {}, tenant="theirs")
    for user in ("jf_app", "jf_admin"):
        refused(inside(database.url(user), "jobs", command, str(theirs), *MINE, status=2), str(theirs))
    refused(inside(database.url("jf_app"), "jobs", command, str(theirs), status=2), "--tenant")
    assert state(database, theirs) == "queued"


@pytest.mark.parametrize("at", ["yesterday", "2026-01-31T12:00"])
def test_a_time_that_is_none_moves_nothing(database: Database, at: str) -> None:
    job = enqueue(database, cli_app.send, {})
    refused(inside(database.url("jf_admin"), "jobs", "reschedule", str(job), "--at", at, status=2), at, "write")
    assert state(database, job) == "queued"


def test_why_answers_first_then_says_what_else_and_what_to_do(database: Database) -> None:
    with database.engine("jf_admin").begin() as connection:
        Tenants(connection).pause("acme")
    enqueue(database, cli_app.send, {})
    job = enqueue(database, cli_app.send, {})
    heading, empty, *lines = inside(database.url("jf_admin"), "why", str(job)).stdout.splitlines()

    assert heading == f"{job}  queued  send  of acme, queue mail"
    assert empty == ""
    assert lines[0].startswith("  its tenant is paused since 20")
    assert lines[1] == "  no live worker works on the queue mail"
    assert lines[2] == "  one job of its tenant comes first in this queue"
    assert [line for line in lines if "next:" in line] == [
        "  next: jobforge tenants resume acme",
        "  next: jobforge worker MODULE:FORGE --queue mail  # if the name is right: jobforge queues",
    ]


def test_why_in_json_has_codes_and_facts(database: Database) -> None:
    job = enqueue(database, cli_app.send, {}, delay=dt.timedelta(hours=1))
    reasons = [
        json.loads(line)
        for line in inside(database.url("jf_app"), "why", str(job), *MINE, "--json").stdout.splitlines()
    ]
    assert [reason["code"] for reason in reasons] == ["delayed", "no_worker"]
    assert reasons[0]["detail"]["due_at"].startswith("20")


def test_why_of_a_job_that_is_not_there_is_refused(database: Database) -> None:
    job = enqueue(database, cli_app.send, {}, tenant="theirs")
    refused(inside(database.url("jf_app"), "why", str(job), *MINE, status=2), str(job))
    refused(inside(database.url("jf_app"), "why", str(job), status=2), "--tenant")
