"""Game day: faults of every kind, each made for real, found by `doctor` or `why`, and cured by what they print."""

# ruff: noqa: E501  a fault is a line

from __future__ import annotations

import datetime as dt
import io
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.types.json import Json
from rich.console import Console
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Worker
from jobforge_sa.db import migrate
from jobforge_sa.ops import screen
from jobforge_sa.ops.doctor import page as doctor_page
from jobforge_sa.ops.doctor import report as doctor
from jobforge_sa.ops.doctor.report import Check, Finding, Level, Report
from jobforge_sa.ops.reader import become_admin
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.acceptance import cli_app
from tests.acceptance.cli import inside
from tests.support import Clock, Sql, item, wait_for

DBA = "postgres"
GROUPS = ("", "server", "connection", "work")


@pytest.fixture
def clock(sql: Sql) -> Clock:
    return sql.clock()


def report(sql: Sql, user: str = "jf_admin") -> Report:
    return doctor.examine(sql.database.engine(user, poolclass=sa.NullPool))


def findings(sql: Sql, name: str, user: str = "jf_admin") -> list[Finding]:
    """Of one kind alone: a whole examination takes half a second."""
    group, check = next((group, one) for group in GROUPS for one in doctor.checks(group) if one.name == name)
    engine = sa.create_engine(sql.database.url(user), poolclass=sa.NullPool)
    with Session(engine) as session:
        doctor.pin(session.connection())
        if group == "work":
            become_admin(session)
        return doctor.run(session.connection(), check)


def all_findings(sql: Sql, name: str) -> list[Finding]:
    return [one for one in report(sql).findings if one.name == name]


def found(sql: Sql, name: str, user: str = "jf_admin") -> Finding:
    (one,) = findings(sql, name, user)
    return one


def cures(said: Report, name: str) -> list[str]:
    """The commands that stand on the page under a fault, as an operator copies them from a narrow terminal."""
    paper = io.StringIO()
    target = Console(file=paper, width=80, force_terminal=True, color_system=None, highlight=False, markup=False)
    screen.show(target, *doctor_page.parts(said))
    section, copied = "", []
    for line in paper.getvalue().splitlines():
        if heading := re.match(r"(?:ERROR|WARNING|NOTE)  (\w+)", line):
            section = heading[1]
        if section == name and line.startswith("  cure: "):
            copied.append(line.removeprefix("  cure: ").rstrip())
    return copied


def do(sql: Sql, command: str, user: str = "jf_one") -> None:
    """What an operator does with it: a shell, with the name of his application, or psql."""
    if not command.startswith("jobforge "):
        for statement in re.split(r";(?:\s|$)", re.sub(r"--.*", "", command)):
            if statement.strip():
                sql.session(DBA).execute(statement.encode())
        return
    words = shlex.split(command, comments=True)[1:]
    if words[0] == "worker":
        assert words[1:3] == ["MODULE:FORGE", "--queue"]
        with Worker(sql.database.engine(user), cli_app.forge, queues=words[3:]) as worker:
            assert worker.drain(10)
        return
    inside(sql.database.url(user), *words)


def next_commands(sql: Sql, job: object) -> list[str]:
    said = inside(sql.database.url("jf_admin"), "why", str(job)).stdout
    return [line.removeprefix("  next: ") for line in said.splitlines() if line.startswith("  next: ")]


def enqueue(sql: Sql, **options: Any) -> Any:
    return sql.enqueue("acme", "send", queue="mail", **options)


def beat(sql: Sql, **options: Any) -> None:
    sql("heartbeat_jobs", worker_id=sql.worker, **{"queues": ["mail"], "types": ["send"]} | options)


def claim(sql: Sql) -> list[dict[str, Any]]:
    return sql.claim(queues=["mail"], types=["send"])


def lose_worker(sql: Sql, clock: Clock, times: int) -> None:
    for _ in range(times):
        assert claim(sql) or sql.suspects(queues=["mail"], types=["send"])
        clock.advance(minutes=2)
        sql("upkeep")
        clock.advance(minutes=2)
        sql("upkeep")


def soon(monkeypatch: pytest.MonkeyPatch, name: str, *swaps: tuple[str, str]) -> None:
    """Let a check look with other limits: for what no test can wait for or make."""
    known: Callable[..., tuple[Check, ...]] = doctor.checks

    def swapped(query: str) -> str:
        for old, new in swaps:
            assert old in query
            query = query.replace(old, new)
        return query

    def changed(group: str = "") -> tuple[Check, ...]:
        return tuple(Check(c.name, c.why, swapped(c.query)) if c.name == name else c for c in known(group))

    monkeypatch.setattr(doctor, "checks", changed)


# --- found by the doctor, cured by what it prints ----------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and what is found then."""

    check: str
    level: Level
    where: str
    make: Callable[[Sql], Any]

    def __str__(self) -> str:
        return self.check


def runs_nothing(sql: Sql) -> None:
    enqueue(sql)
    sql.clock().advance(minutes=2)


def runs_other_tasks(sql: Sql) -> None:
    enqueue(sql)
    sql.clock().advance(minutes=2)
    beat(sql, types=["other"])


def dies_with_its_lease(sql: Sql) -> None:
    clock = sql.clock()
    enqueue(sql)
    claim(sql)
    clock.advance(minutes=3)


def kills_its_workers(sql: Sql) -> None:
    clock = sql.clock()
    enqueue(sql)
    lose_worker(sql, clock, 5)


def dba(statement: str) -> Callable[[Sql], Any]:
    return lambda sql: sql.session(DBA).execute(statement.replace("DATABASE", sql.database.name).encode())


FAULTS = [
    Fault("unserved_queue", Level.ERROR, "queue mail", runs_nothing),
    Fault("unknown_type", Level.ERROR, "type send", runs_other_tasks),
    Fault("expired_lease", Level.ERROR, "job ", dies_with_its_lease),
    Fault("killer_job", Level.WARNING, "job ", kills_its_workers),
    Fault("autovacuum_off", Level.ERROR, "table jobforge.ready", dba("alter table jobforge.ready set (autovacuum_enabled = off)")),
    Fault("slow_autovacuum", Level.WARNING, "table jobforge.leases", dba("alter table jobforge.leases reset (autovacuum_vacuum_threshold), set (autovacuum_vacuum_cost_delay = 20)")),
    Fault("asynchronous_commit", Level.WARNING, "synchronous_commit", dba("alter database DATABASE set synchronous_commit = off")),
    Fault("missing_wall", Level.ERROR, "", dba("drop policy jobs_wall on jobforge.jobs")),
    Fault("open_table", Level.ERROR, "jobforge.ready", dba("alter table jobforge.ready no force row level security")),
    Fault("write_grant", Level.ERROR, "", dba("grant delete on jobforge.jobs to jobforge_app")),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_is_found_and_what_the_page_says_cures_it(sql: Sql, fault: Fault) -> None:
    assert findings(sql, fault.check) == []
    fault.make(sql)
    said = report(sql)
    told = [one for one in said.findings if one.name == fault.check]
    assert {one.level for one in told} == {fault.level}
    assert told[0].object.startswith(fault.where)
    for command in cures(said, fault.check):
        do(sql, command)
    assert findings(sql, fault.check) == []


def test_a_body_that_was_changed_by_hand_is_restored(sql: Sql) -> None:
    (before,) = sql.look("select pg_get_functiondef('jobforge.retry_delay'::regproc) as text")
    sql.session(DBA).execute(before["text"].replace("3600", "7200").encode())
    (fault,) = (one for one in all_findings(sql, "drift") if one.object == "function jobforge.retry_delay")
    words = re.fullmatch(r"sed -n '(\d+),(\d+)p' (\S+) \| psql  # as revision 0002 made it", fault.remedy)
    assert words
    with open(words[3], encoding="utf-8") as file:
        sql.session(DBA).execute("".join(file.readlines()[int(words[1]) - 1 : int(words[2])]).encode())
    assert sql.look("select pg_get_functiondef('jobforge.retry_delay'::regproc) as text") == [before]


@pytest.mark.parametrize(
    ("isolation", "statement"), [("repeatable read", "select 1"), (None, "create table made (n int)")]
)
def test_who_holds_the_oldest_snapshot_is_named_and_ended(
    sql: Sql, monkeypatch: pytest.MonkeyPatch, isolation: str | None, statement: str
) -> None:
    """At READ COMMITTED an open transaction holds none between its statements; once it has written, it does the harm."""
    soon(monkeypatch, "old_snapshot", ("interval '5 minutes'", "interval '0'"))
    holder = sql.connect(DBA, isolation=isolation)
    holder.execute(statement.encode())
    (command,) = cures(report(sql, DBA), "old_snapshot")
    assert command == f"select pg_terminate_backend({holder.info.backend_pid});"
    assert "it holds the oldest snapshot, since" in found(sql, "old_snapshot", DBA).detail
    do(sql, command)
    wait_for(lambda: findings(sql, "old_snapshot", DBA) == [], what="the session to end")


def test_who_keeps_a_lock_is_named_and_ended_and_the_others_go_on(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    soon(monkeypatch, "lock_wait", ("interval '10 seconds'", "interval '0'"))
    """A report, a migration that waits for it, and behind that the application."""
    holder, migrator, third = sql.connect(DBA), sql.connect(DBA), sql.connect("jf_app", "acme")
    holder.execute("select count(*) from jobforge.ready")

    def migrate_it() -> None:
        migrator.execute("alter table jobforge.ready add column extra int")
        migrator.rollback()

    waiting: list[Future[Any]] = [sql.waits(migrator, migrate_it)]
    waiting.append(sql.waits(third, lambda: third.execute("select jobforge.enqueue_job('send')")))
    fault = found(sql, "lock_wait")
    assert (fault.level, fault.object) == (Level.WARNING, f"backend {holder.info.backend_pid}")
    assert fault.detail.startswith("1 wait for its locks (jobforge.ready)")
    (command,) = cures(report(sql), "lock_wait")
    do(sql, command)
    for one in waiting:
        one.result(10)
    assert findings(sql, "lock_wait") == []


def test_who_has_changed_a_limit_and_not_committed_is_named_and_ended(
    sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon(monkeypatch, "held_limit", ("interval '10 seconds'", "interval '0'"))
    holder = sql.connect("jf_admin")
    holder.execute("select jobforge.pause_task('t')")
    fault = found(sql, "held_limit", DBA)
    assert (fault.level, fault.object) == (Level.WARNING, f"backend {holder.info.backend_pid}")
    (command,) = cures(report(sql, DBA), "held_limit")
    do(sql, command)
    wait_for(lambda: findings(sql, "held_limit", DBA) == [], what="the session to end")


def test_rows_that_wait_for_vacuum_and_the_space_that_they_leave(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    soon(monkeypatch, "dead_rows", ("> 100000 + s.n_live_tup", "> 100"))
    sql.session(DBA).execute("alter table jobforge.ready set (autovacuum_enabled = off)")
    sql.fill("a", 3000)
    while runs := sql.claim(1000):
        sql("complete_jobs", results=Json([item(run) for run in runs]))

    def of_ready(name: str) -> list[Finding]:  # a session tells of what it did when it is idle, after a second or ten
        for user in ("jf_app", "jf_worker"):
            sql.session(user).execute("select pg_stat_force_next_flush()")
        return [one for one in findings(sql, name) if "ready" in one.object]

    (fault,) = wait_for(lambda: of_ready("dead_rows"), 30, "the dead rows to be counted")
    assert fault.level == Level.WARNING
    do(sql, fault.remedy)
    assert of_ready("dead_rows") == []

    soon(monkeypatch, "bloated_table", ("268435456", "100000"))
    faults = of_ready("bloated_table")
    assert {(one.level, one.object) for one in faults} == {
        (Level.NOTE, "index jobforge.ready_pkey"), (Level.NOTE, "index jobforge.ready_ring")
    }  # fmt: skip
    for fault in faults:
        do(sql, fault.remedy)
    assert of_ready("bloated_table") == []
    sql.session(DBA).execute("alter table jobforge.ready reset (autovacuum_enabled)")


def test_a_limit_of_connections_that_is_reached_is_told_to_any_login(sql: Sql) -> None:
    """Of others' sessions it sees no more than whose they are."""
    with ExitStack() as held:
        for _ in range(9):
            held.enter_context(psycopg.connect(sql.database.dsn("jf_stranger")))
        (here,) = sql.look("select count(*) from pg_stat_activity where datname = current_database()")
        do(sql, "alter role jf_stranger connection limit 10; grant jobforge_app to jf_stranger;")
        do(sql, f"alter database {sql.database.name} connection limit {here['count'] + 3};")
        try:
            told = {one.object: one for one in findings(sql, "few_connections", "jf_app")}
            login = told["connections of the login jf_stranger"]
            assert login.detail == "9 of 10 are in use; most by jf_stranger (9)"
            assert f"connections of the database {sql.database.name}" in told
            for command in cures(report(sql, "jf_app"), "few_connections"):
                do(sql, command)
            assert findings(sql, "few_connections", "jf_app") == []
        finally:
            do(sql, "alter role jf_stranger connection limit -1; revoke jobforge_app from jf_stranger;")
            do(sql, f"alter database {sql.database.name} connection limit -1;")


def test_workers_that_would_open_more_connections_than_there_are_places(sql: Sql) -> None:
    (server,) = sql.look("select current_setting('max_connections')::int as places")
    beat(sql, connections=15)
    assert findings(sql, "overbooked") == []
    beat(sql, connections=server["places"] - 4)
    fault = found(sql, "overbooked")
    assert (fault.level, fault.object) == (Level.NOTE, "the server")
    assert f"1 live workers open up to {server['places'] - 4} connections, others have " in fault.detail
    beat(sql, connections=server["places"])
    assert found(sql, "overbooked").level == Level.WARNING
    with psycopg.connect(sql.database.dsn("jf_worker"), application_name="jobforge worker"):
        do(sql, "alter role jf_worker connection limit 20;")
        beat(sql, connections=21)
        fault = found(sql, "overbooked")
        do(sql, "alter role jf_worker connection limit -1;")
    assert (fault.level, fault.object) == (Level.WARNING, "the login jf_worker")
    beat(sql, connections=5)  # fewer slots
    assert findings(sql, "overbooked") == []


def test_a_worker_says_how_many_connections_it_opens_at_most_and_opens_no_more(sql: Sql) -> None:
    forge, busy, done = JobForge(tenant="acme"), threading.Barrier(4), threading.Event()

    @forge.task(queue="mail")
    def send(ctx: Context, payload: dict[str, Any]) -> None:
        ctx.session.execute(sa.text("select 1"))
        busy.wait(10)
        done.wait(10)

    for _ in range(3):
        enqueue(sql)
    engine = sql.database.engine("jf_one", connect_args={"application_name": "counted"})
    with Worker(engine, forge, queues={"mail": 3}) as worker:
        busy.wait(10)
        (said,) = sql.look("select connections from jobforge.workers where worker_id = %s", worker.id)
        (open_,) = sql.look("select count(*) from pg_stat_activity where application_name = 'counted'")
        done.set()
        assert said["connections"] == 8
        assert 3 + 3 <= open_["count"] <= 8


# --- found by why, cured by what it names -------------------------------------------------------------------


def test_a_tenant_that_was_paused_and_forgotten(sql: Sql) -> None:
    job = enqueue(sql)
    sql("pause_tenant", user="jf_admin", tenant_id="acme")
    for command in next_commands(sql, job):
        do(sql, command)
    assert sql.state(job) == "succeeded"  # the second is a worker


def test_a_retry_that_is_hours_ahead_and_a_job_that_has_died(sql: Sql) -> None:
    later, dead = enqueue(sql), enqueue(sql)
    runs = {run["job_id"]: run for run in claim(sql)}
    sql.complete(runs[later], "failed", delay=7200)
    sql.complete(runs[dead], "failed", final=True)
    beat(sql)
    (command,) = next_commands(sql, later)
    do(sql, command)
    assert sql.state(later) == "queued"
    for command in next_commands(sql, dead):
        do(sql, command)
    assert sql.state(dead) == "queued"


def test_jobs_that_wait_for_too_long_though_workers_live(sql: Sql, clock: Clock) -> None:
    job = enqueue(sql)
    sql.enqueue("paused", "send", queue="mail")
    sql("pause_tenant", user="jf_admin", tenant_id="paused")
    clock.advance(minutes=10)
    beat(sql)
    fault = found(sql, "late_jobs")
    assert (fault.level, fault.remedy) == (Level.NOTE, f"jobforge why {job}")
    clock.advance(hours=1)
    beat(sql)
    assert found(sql, "late_jobs").level == Level.WARNING
    do(sql, "jobforge worker MODULE:FORGE --queue mail")  # one more
    assert findings(sql, "late_jobs") == []  # a paused tenant's are meant to wait


@pytest.mark.parametrize(("scope", "name"), [("tenant", "acme"), ("queue", "mail"), ("task", "send")])
@pytest.mark.parametrize("change", [{"max_running": 1}, {"rate": 0.000_1, "burst": 1}])
def test_jobs_that_a_limit_holds_are_not_late(
    sql: Sql, clock: Clock, scope: str, name: str, change: dict[str, Any]
) -> None:
    named = {{"tenant": "tenant_id", "queue": "queue", "task": "type"}[scope]: name}

    def limit(**said: float | None) -> None:
        sql(f"limit_{scope}", user="jf_admin", change=said, **named)

    enqueue(sql), enqueue(sql)
    limit(**change)
    assert len(claim(sql)) == 1
    clock.advance(hours=2)
    beat(sql)
    assert findings(sql, "late_jobs") == []
    limit(max_running=9, rate=None)
    late = found(sql, "late_jobs")
    assert late.level == Level.NOTE
    assert late.detail.endswith(f"; limited: its {scope}")
    limit(max_running=None)
    assert (late := found(sql, "late_jobs")).level == Level.WARNING
    assert "limited" not in late.detail


def test_jobs_that_wait_in_line_are_not_late(sql: Sql, clock: Clock) -> None:
    jobs = {enqueue(sql, ordering_key="account", timeout=dt.timedelta(hours=9)) for _ in range(2)}
    (run,) = claim(sql)  # and puts the other aside
    clock.advance(hours=2)
    beat(sql)
    assert findings(sql, "late_jobs") == []
    sql.complete(run)
    (other,) = jobs - {run["job_id"]}
    assert [run["job_id"] for run in claim(sql)] == [other]


def test_a_job_whose_workers_die_is_suspected_first(sql: Sql, clock: Clock) -> None:
    job = enqueue(sql)
    lose_worker(sql, clock, 2)
    fault = found(sql, "suspect_job")
    assert (fault.level, fault.remedy[:20]) == (Level.WARNING, "jobforge jobs show " + str(job)[0])
    do(sql, fault.remedy.partition("known: ")[2])
    assert findings(sql, "suspect_job") == []
    assert sql.state(job) == "canceled"


def test_a_worker_that_was_killed(sql: Sql, clock: Clock) -> None:
    beat(sql, name="web-1 4711")
    assert findings(sql, "dead_worker") == []
    clock.advance(minutes=2)
    fault = found(sql, "dead_worker")
    assert (fault.level, fault.object) == (Level.NOTE, "worker web-1 4711")
    clock.advance(hours=1)
    sql("upkeep")
    assert findings(sql, "dead_worker") == []


def test_a_machine_whose_clock_is_wrong(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return datetime.now(tz) - dt.timedelta(hours=1)

    monkeypatch.setattr("jobforge_sa.ops.doctor.report.dt.datetime", Late)
    (fault,) = all_findings(sql, "clock_skew")
    assert (fault.level, fault.detail[:31]) == (Level.NOTE, "it is 1h00m behind the database")


# --- what needs a server of its own, or another limit -------------------------------------------------------


@pytest.fixture
def engine() -> Iterator[sa.Engine]:
    """A superuser's, on a server that is set up badly."""
    settings = {"max_connections": "20", "max_prepared_transactions": "2", "wal_level": "logical"}
    server = EmbeddedServer(settings=settings)
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", pool_size=20)
    yield engine
    engine.dispose()
    server.stop()


def of_server(engine: sa.Engine, group: str, name: str, *swaps: tuple[str, str]) -> list[Finding]:
    (check,) = (one for one in doctor.checks(group) if one.name == name)
    query = check.query
    for old, new in swaps:
        assert old in query
        query = query.replace(old, new)
    with engine.connect() as connection:
        doctor.pin(connection)
        return doctor.run(connection, Check(name, check.why, query))


def test_a_server_without_autovacuum_almost_without_connections_and_with_what_others_have_left_on_it(
    engine: sa.Engine,
) -> None:
    def run(statement: str) -> None:
        for one in statement.partition("--")[0].split(";"):
            if one.strip():
                with engine.connect() as connection:
                    connection.exec_driver_sql(one)

    run("alter system set autovacuum = off; select pg_reload_conf()")
    (fault,) = wait_for(lambda: of_server(engine, "server", "autovacuum_off"), what="the server to take its settings")
    assert fault.object == "autovacuum"
    run(fault.remedy)
    wait_for(lambda: of_server(engine, "server", "autovacuum_off") == [], what="the server to take its settings")

    held = [engine.connect() for _ in range(15)]
    (fault,) = of_server(engine, "server", "few_connections")
    assert fault.detail.startswith("16 of 17 are in use")
    for connection in held:
        connection.close()

    run("select pg_create_logical_replication_slot('left', 'pgoutput')")
    few = ("1073741824", "-1"), ("1000000", "-1"), ("s.xmin", "s.catalog_xmin")  # a standby's is the other one
    (fault,) = of_server(engine, "server", "held_by_replica", *few)
    assert fault.object == 'replication slot "left"'
    assert re.search(r"nobody reads it, it keeps .+ of the log, it keeps vacuum from what the last \d+", fault.detail)
    run(fault.remedy)
    assert of_server(engine, "server", "held_by_replica", *few) == []

    migrate.upgrade(engine)
    with engine.connect() as connection:  # it has touched no table of ours
        connection.exec_driver_sql("create table other (n int)")
        for statement in ("begin", "insert into other values (1)", "prepare transaction 'left'"):
            connection.exec_driver_sql(statement)
    (fault,) = of_server(engine, "connection", "orphaned_transaction", ("interval '5 minutes'", "interval '0'"))
    assert "keeps vacuum from what was deleted since" in fault.detail
    run(fault.remedy)
    assert of_server(engine, "connection", "orphaned_transaction", ("interval '5 minutes'", "interval '0'")) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "level"),
    [
        ("old_server", "< 150000", "< 990000", Level.ERROR),
        ("notify_queue", "where pg_notification_queue_usage() >= 0.1", "where true", Level.WARNING),
    ],
)
def test_what_no_test_can_make_is_found_under_another_limit(
    sql: Sql, monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str, level: Level
) -> None:
    assert findings(sql, name) == []
    soon(monkeypatch, name, (old, new))
    assert found(sql, name).level == level


def test_the_auditor_that_has_no_time_says_so_and_what_to_do(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    (before,) = sql.look("select pg_get_functiondef('jobforge.audit'::regproc) as text")
    slow = re.sub(
        r"\$function\$.*\$function\$",
        "'select null::uuid, null::text from pg_sleep(60)'",
        before["text"],
        flags=re.DOTALL,
    )
    sql.session(DBA).execute(slow.encode())
    monkeypatch.setattr(doctor, "_PATIENCE", "500ms")
    try:
        unseen = {one.name: one for one in report(sql).findings if one.level == Level.UNSEEN}
    finally:
        sql.session(DBA).execute(before["text"].encode())
    assert "had no time: 500ms" in unseen["audit"].detail
    assert "by hand, at a quieter hour" in unseen["audit"].detail


MANY = 10_000  # jobs, of 3,000 tenants


def test_no_look_at_the_work_reads_more_than_a_bounded_part_of_it(sql: Sql) -> None:
    """With ten million jobs it costs what it costs here: the auditor alone reads everything."""
    (job,) = sql.look("select * from jobforge.jobs where id = %s", enqueue(sql))
    dba(f"""
        insert into jobforge.jobs
        select j.* from generate_series(1, {MANY}) n cross join lateral jsonb_populate_record(
            (select j from jobforge.jobs j where j.id = '{job["id"]}'),
            jsonb_build_object('id', jobforge.new_job_id(now()), 'tenant_id', 't' || n % 3000)) j""")(sql)
    dba("""insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
           select j.queue, j.tenant_id, j.priority, j.id, j.type, 0, 0, 0 from jobforge.jobs j
            where not exists (select from jobforge.ready r where r.job_id = j.id)""")(sql)
    beat(sql)
    admin = sql.session("jf_admin")
    for check in doctor.checks("work"):
        with admin.transaction():
            for setting in doctor._BY_INDEX:
                admin.execute(f"set local {setting} = off".encode())
            admin.execute("set local role jobforge_admin")
            asked = f"explain (analyze, buffers, format json) {check.query}".encode()
            (row,) = admin.execute(asked).fetchall()
        top = row["QUERY PLAN"][0]["Plan"]
        pages = top["Shared Hit Blocks"] + top["Shared Read Blocks"]
        assert pages < (20_000 if check.name in {"late_jobs", "unknown_type"} else 60), check.name
        for node in nodes(top):
            read = (node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)) * node.get("Actual Loops", 1)
            assert read < MANY / 2, f"{check.name} reads {read} rows: {node['Node Type']}"
    dba("truncate jobforge.jobs, jobforge.ready")(sql)  # the auditor would look at them all


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for one in plan.get("Plans", ()):
        yield from nodes(one)
