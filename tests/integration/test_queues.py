"""The queues and the workers, as an administrator sees them."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Iterator

import pytest

from jobforge_sa import Queues
from jobforge_sa.errors import AccessDenied, ConfigurationError
from jobforge_sa.queues import QueueInfo, WorkerInfo
from tests.acceptance.cli import inside, jobforge, refused
from tests.fix_postgres import Database
from tests.support import Clock, Sql

MINUTE = dt.timedelta(minutes=1)


@pytest.fixture
def sql(database: Database) -> Iterator[Sql]:
    with Sql(database) as sql:
        yield sql


@pytest.fixture
def clock(sql: Sql) -> Iterator[Clock]:
    clock = sql.clock()
    yield clock
    sql.clean()


def queues(sql: Sql, count: int = 100) -> list[QueueInfo]:
    with sql.database.engine("jf_admin").connect() as connection:
        return [*Queues(connection).list(count)]


def workers(sql: Sql) -> list[WorkerInfo]:
    with sql.database.engine("jf_admin").connect() as connection:
        return [*Queues(connection).workers()]


def test_each_queue_says_what_waits_what_runs_and_who_works(sql: Sql, clock: Clock) -> None:
    assert queues(sql) == []
    start = clock.now()
    sql.fill("a", 3)
    clock.advance(minutes=1)
    sql.fill("b", 2)
    sql.fill("b", 4, queue="mail", delay="1 hour")
    sql("heartbeat_jobs", worker_id=sql.worker, queues=["default", "idle"], types=["t"], name="web 1")
    sql.claim(1)

    default, idle, mail = queues(sql)
    assert (default.name, default.queued, default.running, default.workers) == ("default", 4, 1, 1)
    assert default.oldest in (start, start + MINUTE)
    assert (mail.name, mail.scheduled, mail.next_due) == ("mail", 4, start + 61 * MINUTE)
    assert (mail.queued, mail.oldest, mail.running, mail.workers) == (0, None, 0, 0)
    assert idle == QueueInfo("idle", 0, None, 0, 0, None, 0, 1)
    assert queues(sql, count=2)[0].queued == 2
    assert [(one.id, one.name, one.queues, one.types, one.running) for one in workers(sql)] == [
        (sql.worker, "web 1", ["default", "idle"], ["t"], 1)
    ]


def test_a_suspect_waits_apart_and_a_lost_worker_is_listed(sql: Sql, clock: Clock) -> None:
    sql.enqueue()
    for _ in range(2):
        sql.claim_one()
        clock.advance(minutes=2)
        sql("upkeep")
        clock.advance(minutes=2)
    sql("upkeep")
    (default,) = queues(sql)
    assert (default.queued, default.suspects, default.workers) == (0, 1, 0)
    (lost,) = workers(sql)
    assert lost.alive_until < clock.now()
    assert (lost.queues, lost.types, lost.name) == (None, None, None)


def test_only_administrators_ask_and_a_count_of_nothing_is_refused(sql: Sql) -> None:
    with sql.database.engine("jf_app").connect() as connection, pytest.raises(AccessDenied, match="jobforge_admin"):
        Queues(connection).list()
    with sql.database.engine("jf_admin").connect() as connection, pytest.raises(ConfigurationError, match="counted"):
        Queues(connection).list(0)


def test_the_commands_show_what_needs_a_hand(sql: Sql, clock: Clock) -> None:
    admin = sql.database.url("jf_admin")
    assert inside(admin, "queues").stdout == "nothing waits or runs, and no worker lives\n"
    assert inside(admin, "workers").stdout == "no worker lives; start one: jobforge worker MODULE:FORGE\n"
    sql.fill("a", 3)
    clock.advance(minutes=10)
    sql("heartbeat_jobs", worker_id=uuid.uuid4(), queues=["mail"], types=["t", "u"], name="web 1")

    heading, *rows = jobforge(admin, "queues").stdout.splitlines()
    assert heading.split() == ["QUEUE", "QUEUED", "OLDEST", "SCHEDULED", "NEXT", "RUNNING", "WORKERS"]
    assert [row.split() for row in rows] == [["default", "3", "10m00s", "-", "-", "0"], ["mail", "-", "-", "-", "1"]]
    assert json.loads(inside(admin, "queues", "--json").stdout.splitlines()[0])["queued"] == 3
    (_, worker) = inside(admin, "workers").stdout.splitlines()
    assert worker.split() == ["web", "1", "0ms", "yes", "-", "mail", "t,", "u"]
    clock.advance(minutes=2)
    assert "lost 2m ago" in inside(admin, "workers").stdout or "lost 90s ago" in inside(admin, "workers").stdout
    red = inside(admin, "queues", FORCE_COLOR="1", TERM="xterm-256color", COLUMNS="80").stdout
    assert "\x1b[1;31m12m00s" in red
    assert "\x1b[1;31m      0" in red


def test_who_may_not_is_told(sql: Sql) -> None:
    for command in ("queues", "workers"):
        refused(inside(sql.database.url("jf_app"), command, status=2), "jobforge_admin")
