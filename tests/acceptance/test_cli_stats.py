"""`jobforge stats`: what ended, how fast, whose; and what it says when it did not look at all of it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from rich.console import Console

from jobforge_sa.ops import screen
from jobforge_sa.ops.stats import page as stats_page
from jobforge_sa.ops.stats.figures import Ends, Stats
from tests.acceptance.cli import inside, refused
from tests.fix_postgres import Database
from tests.support import Sql, one_database


@pytest.fixture(scope="module")
def busy(admin_url: sa.URL, template: str) -> Iterator[Database]:
    """Two tenants' runs of a minute, an hour's delay before them, and a day-old one."""
    with one_database(admin_url, template) as database, Sql(database) as sql:
        clock = sql.clock()
        sql.enqueue("acme", "old")
        sql.complete(sql.claim_one(types=["old"]))
        clock.advance(days=1)
        ended(sql, "acme", [0.1, 0.2, 0.3, 0.4, 10.0])
        sql.enqueue("acme", "mail", queue="mail", max_attempts=1)
        clock.advance(minutes=1)
        sql.complete(sql.claim_one(queues=["mail"], types=["mail"]), "failed", error={"type": "E", "message": "m"})
        ended(sql, "other", [1.0])
        (canceled,) = sql.fill("acme", 1, type="mail")
        sql("cancel_job", tenant="acme", job_id=canceled)
        clock.advance(minutes=1)
        yield database
        clock.remove()


def ended(sql: Sql, tenant: str, seconds: list[float]) -> None:
    sql.fill(tenant, len(seconds))
    for run, ran in zip(sql.claim(), seconds, strict=True):
        sql.complete(run, run_ms=round(ran * 1000))


def told(database: Database, *arguments: str, user: str = "jf_admin") -> list[dict[str, Any]]:
    return [json.loads(line) for line in inside(database.url(user), "stats", "--json", *arguments).stdout.splitlines()]


def test_runs_and_jobs_are_counted_by_type_and_queue_with_their_times(busy: Database) -> None:
    everything, *by_type = told(busy)

    assert (everything["type"], everything["succeeded"], everything["failed"], everything["dead"]) == (None, 6, 1, 1)
    assert [(one["type"], one["queue"], one["succeeded"], one["dead"], one["canceled"]) for one in by_type] == [
        ("mail", "default", 0, 0, 1), ("mail", "mail", 0, 1, 0), ("t", "default", 6, 0, 0),
    ]  # fmt: skip
    assert by_type[2]["run_p50"] == pytest.approx(0.35)
    assert by_type[2]["run_max"] == 10
    assert by_type[1]["wait_p50"] == 60
    assert everything["rate"] == pytest.approx(7 / 3600, rel=0.01)
    assert everything["back_to"] is None


def test_a_tenant_sees_its_own_and_the_filters_hold(busy: Database) -> None:
    assert [one["succeeded"] for one in told(busy, "--tenant", "other", user="jf_app")] == [1, 1]
    assert told(busy, "--tenant", "acme", user="jf_app")[0] == told(busy, "--tenant", "acme")[0]
    assert [one["type"] for one in told(busy, "--queue", "mail")] == [None, "mail"]
    assert told(busy, "--type", "old")[0]["succeeded"] == 0
    assert told(busy, "--type", "old", "--since", "2d")[0]["succeeded"] == 1
    assert "no run ended in the last 1h00m" in inside(busy.url("jf_admin"), "stats", "--type", "none").stdout
    refused(inside(busy.url("jf_app"), "stats", status=2), "--tenant")
    refused(inside(busy.url("jf_admin"), "stats", "--since", "soon", status=2), "soon")


def test_where_not_all_was_looked_at_it_says_of_how_long_it_knows(busy: Database) -> None:
    everything, *_ = told(busy, "--limit", "2")

    assert everything["looked_at"] == 2
    assert everything["succeeded"] + everything["canceled"] == 2
    assert everything["back_to"] is not None
    said = inside(busy.url("jf_admin"), "stats", "--limit", "2").stdout
    assert "of the newest 2 jobs, which were enqueued in the last 1m" in said


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160, screen.UNBOUNDED])
def test_the_table_drops_columns_before_it_breaks_a_line(width: int) -> None:
    now = dt.datetime.now(dt.UTC)
    name = "connector.report.generate_quarterly_statement"
    ends = [
        Ends(name, "default", 123_456, 12, 3, 4, 5, 0.123, 1.5, 65.0, 0.01, 12.0),
        Ends("t", "mail", *[0] * 5, *[None] * 5),
    ]
    console = Console(width=width, color_system=None)

    with console.capture() as captured:
        for part in stats_page.parts(Stats(now - dt.timedelta(hours=1), now, ends, ends[0], 10, None), width):
            console.print(part)

    lines = captured.get().splitlines()
    assert len(lines) == 6
    assert max(map(len, lines[:4])) <= width
    assert "SUCCEEDED" in lines[0]
    assert (name in lines[1]) == (width > 1000)
    assert ("WAIT" in lines[0]) == (width >= 60)
