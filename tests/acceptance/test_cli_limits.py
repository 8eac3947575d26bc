"""`jobforge limits`, `jobforge queues …` and `jobforge tasks …`: what they say, as people and as programs read it."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from rich.console import Console

from jobforge_sa.db import limit_calls
from jobforge_sa.limits import LimitInfo
from jobforge_sa.ops import screen
from jobforge_sa.ops.limits import page as limit_page
from jobforge_sa.ops.queue_commands import queue_table
from jobforge_sa.ops.tenants import listing as tenant_list
from jobforge_sa.queues import QueueInfo
from jobforge_sa.tenants import TenantInfo
from tests.acceptance.cli import inside, refused
from tests.acceptance.test_cli_tenants import claim, fill
from tests.fix_postgres import Database


def test_queues_and_tasks_are_paused_limited_and_listed(database: Database) -> None:
    url = database.url("jf_admin")
    assert inside(url, "limits").stdout == "nobody is paused or limited\n"
    fill(database, "acme", 5)
    claim(database)
    said = [
        inside(url, *command).stdout.removesuffix("\n")
        for command in (
            ["queues", "pause", "mail"],
            ["tasks", "limit", "send", "--max-running", "1", "--rate", "90/m", "--burst", "10"],
            ["tenants", "limit", "acme", "--weight", "3", "--max-waiting", "1000"],
            ["tasks", "pause", "other"],
            ["tasks", "resume", "other"],
            ["tasks", "resume", "other"],
        )
    ]
    assert said == [
        "mail: paused (now); what runs goes on, what is enqueued waits",
        "send: at most 1 of its jobs run at a time; at most 1.5/s begin (up to 10 at once, 11 in any second)",
        "acme: 3 times a tenant's share; at most 1,000 jobs may wait; an enqueue over that is refused",
        "other: paused (now); what runs goes on, what is enqueued waits",
        "other: resumed; its jobs are claimed",
        "other: was not paused; its jobs are claimed",
    ]
    rows = [line.split() for line in inside(url, "limits").stdout.splitlines()]
    del rows[1][6:]  # how long it is paused
    assert rows == [
        ["OF", "NAME", "RUNNING", "RATE", "WEIGHT", "QUOTA", "PAUSED"],
        ["queue", "mail", "1", "-", "-", "-"],
        ["task", "send", "1", "of", "1", "1.5/s", "(10", "at", "once)", "-", "-"],
        ["tenant", "acme", "1", "-", "3", "1,000"],
    ]
    assert inside(url, "queues").stdout.splitlines()[0].split()[-1] == "PAUSED"
    assert "resumed" in inside(url, "queues", "resume", "mail").stdout
    assert "no limits" in inside(url, "tasks", "limit", "send", "--max-running", "none", "--rate", "none").stdout


def test_programs_read_the_same_as_json(database: Database) -> None:
    url = database.url("jf_admin")
    (said,) = inside(url, "queues", "limit", "mail", "--rate", "6/h", "--json").stdout.splitlines()
    assert json.loads(said) == {
        "scope": "queue", "name": "mail", "paused_at": None, "max_running": None, "rate": 6 / 3600, "burst": None,
        "weight": None, "max_waiting": None,
    }  # fmt: skip
    (listed,) = [json.loads(line) for line in inside(url, "limits", "--scope", "queue", "--json").stdout.splitlines()]
    assert (listed["name"], listed["running"], listed["bucket"]) == ("mail", 0, 1)
    (queue,) = [json.loads(line) for line in inside(url, "queues", "--json").stdout.splitlines()]
    assert (queue["name"], queue["paused_at"], queue["max_running"]) == ("mail", None, None)
    assert inside(url, "limits", "--scope", "task", "--json").stdout == ""


@pytest.mark.parametrize("written", ["2", "2/s", "0.5", "none"])
def test_a_rate_is_written_in_several_ways(database: Database, written: str) -> None:
    inside(database.url("jf_admin"), "queues", "limit", "mail", "--rate", written)


@pytest.mark.parametrize(
    ("command", "cure"),
    [
        (["queues", "limit", "mail"], "--max-running, --rate, --burst"),
        (["queues", "limit", "mail", "--rate", "5/week"], "write 5/s"),
        (["queues", "limit", "mail", "--rate", "0"], "none takes it away"),
        (["queues", "limit", "mail", "--max-running", "-1"], "write a whole number, or none"),
        (["queues", "limit", "mail", "--burst", "5"], "Give the rate too"),
        (["queues", "pause", "a b"], "jobforge queues"),
        (["tasks", "limit", "send", "--max-running", "1000001"], "none takes it away"),
    ],
    ids=str,
)
def test_what_is_no_limit_is_status_2_with_the_cure(database: Database, command: list[str], cure: str) -> None:
    refused(inside(database.url("jf_admin"), *command, status=2), cure)


def test_who_is_no_administrator_is_told_the_grant(database: Database) -> None:
    for command in (["limits"], ["queues", "pause", "mail"], ["tasks", "limit", "send", "--rate", "1"]):
        refused(inside(database.url("jf_app"), *command, status=2), "connect as a login of jobforge_admin")


@pytest.mark.parametrize(("scope", "name"), [("tenants", "acme"), ("queues", "mail"), ("tasks", "send")])
def test_a_change_that_another_one_holds_up_gives_up_and_names_it(
    database: Database, monkeypatch: pytest.MonkeyPatch, scope: str, name: str
) -> None:
    monkeypatch.setattr(limit_calls, "PATIENCE", sa.text("set local lock_timeout = '100ms'"))
    url = database.url("jf_admin")
    with psycopg.connect(database.dsn("jf_admin")) as holder:
        holder.execute(f"select jobforge.pause_{scope[:-1]}('{name}')".encode())
        for command in (["pause", name], ["limit", name, "--max-running", "1"]):
            done = inside(url, scope, *command, status=2)
            refused(done, f"still open (backend {holder.info.backend_pid}); nothing was changed", "commit it or roll")
    inside(url, scope, "resume", name)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        ("1000000", "at most 1,000,000/s begin (2,000,000 in any second)"),
        ("999999.9", "at most 1,000,000/s begin (1,999,999 in any second)"),
        ("6/h", "at most 6/h begin (7 in any hour)"),
        ("0.5", "at most 30/m begin (31 in any minute)"),
        ("90/m", "at most 1.5/s begin (3 in any second)"),
    ],
)
def test_a_rate_says_how_many_any_second_may_see(database: Database, rate: str, said: str) -> None:
    """Who protects an API must know: a full bucket begins at once, and what comes in does in the same second."""
    assert inside(database.url("jf_admin"), "tasks", "limit", "send", "--rate", rate).stdout == f"send: {said}\n"


def test_a_name_that_nobody_knows_is_doubted_with_and_without_a_worker(database: Database) -> None:
    url = database.url("jf_admin")
    fill(database, "acme", 1)
    for command, known, noun in (("queues", "mail", "queue"), ("tasks", "send", "task")):
        for verb in (["limit", "--max-running", "1"], ["pause"]):
            assert inside(url, command, verb[0], known, *verb[1:]).stderr == ""
            done = inside(url, command, verb[0], "nosuch", *verb[1:])
            assert done.stderr.startswith(f"note: neither a worker nor a job has the {noun} nosuch so far")


NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SAID: dict[str, Any] = {
    "max_running": 1_000_000,
    "rate": 1e6,
    "weight": 100,
    "max_waiting": 10_000_000,
    "paused_at": NOW,
}
NAMES = ["acme", "0198c6a4-5b7e-7c3a-9d55-3f1e8f6f2b11", "x" * 93]


@pytest.mark.parametrize("width", [80, 120, screen.UNBOUNDED])
def test_a_row_is_one_line_and_a_name_that_is_cut_says_so(width: int) -> None:
    """At 80 columns a long name stood in three, and its row was 31 lines high."""
    tenants = [TenantInfo(name, 100_000, 100_000, 1_000_000, burst=1_000_000, **SAID) for name in NAMES]
    limits = [LimitInfo("tenant", name, running=1_000_000, burst=1_000_000, **SAID) for name in NAMES]
    queues = [QueueInfo(name, 100_000, NOW, 0, 100_000, NOW, 1_000_000, 100, NOW, 1_000_000) for name in NAMES]
    for table in (
        tenant_list.table(tenants, NOW, width), limit_page.table(limits, NOW, width), queue_table(queues, NOW, width),
    ):  # fmt: skip
        console = Console(width=width, file=io.StringIO())
        with console.capture() as captured:
            console.print(table)
        heading, *rows = [line.rstrip() for line in captured.get().splitlines()]
        assert len(rows) == 3 + (rows[-1].startswith("no room for"))
        assert width > 100 or len(rows) == 4
        assert all(word in heading for word in ("RUNNING", "PAUSED"))
        assert NAMES[1] in rows[1]
        assert ("…" in rows[2]) == (width < 200)
