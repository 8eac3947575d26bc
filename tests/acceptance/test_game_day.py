"""Game day: faults of every kind, each made for real, found by `doctor` or `why`, and cured by what they name."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
import sqlalchemy as sa

from jobforge_sa import Context, JobForge, Worker
from jobforge_sa.ops import doctor
from jobforge_sa.ops.doctor import Check, Finding, Level
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.fix_postgres import Database
from tests.support import Clock, Sql, wait_for

forge = JobForge(tenant="a")


@forge.task()
def t(ctx: Context, payload: dict[str, Any]) -> None: ...


@pytest.fixture
def sql(database: Database) -> Iterator[Sql]:
    with Sql(database) as sql:
        yield sql


@pytest.fixture
def clock(sql: Sql) -> Iterator[Clock]:
    clock = sql.clock()
    yield clock
    sql.clean()


def findings(sql: Sql, name: str) -> list[Finding]:
    report = doctor.examine(sql.database.engine("jf_admin"))
    return [one for one in report.findings if one.name == name and one.level != Level.UNSEEN]


def found(sql: Sql, name: str) -> Finding:
    (one,) = findings(sql, name)
    return one


def beat(sql: Sql, **options: Any) -> None:
    sql("heartbeat_jobs", worker_id=sql.worker, **{"queues": ["default"], "types": ["t"]} | options)


def lose_worker(sql: Sql, clock: Clock, times: int) -> None:
    for _ in range(times):
        assert sql.claim() or sql.suspects()
        clock.advance(minutes=2)
        sql("upkeep")
        clock.advance(minutes=2)
        sql("upkeep")


def work(sql: Sql) -> None:
    """The remedy of many: a worker."""
    with Worker(sql.database.engine("jf_one"), forge) as worker:
        assert worker.drain(10)


def test_a_queue_that_nobody_works_on(sql: Sql, clock: Clock) -> None:
    sql.enqueue()
    assert findings(sql, "unserved_queue") == []  # it has only just come
    clock.advance(minutes=2)
    fault = found(sql, "unserved_queue")
    assert (fault.level, fault.object) == (Level.ERROR, "queue default")
    assert fault.remedy == "jobforge worker MODULE:FORGE --queue default"
    work(sql)
    assert findings(sql, "unserved_queue") == []


def test_a_type_that_no_worker_knows(sql: Sql, clock: Clock) -> None:
    for tenant in ("a", "b"):
        sql.enqueue(tenant, type_="renamed")
    clock.advance(minutes=2)
    beat(sql)
    fault = found(sql, "unknown_type")
    assert (fault.level, fault.object) == (Level.ERROR, "type renamed")
    assert "of its live workers (1) none knows it" in fault.detail
    assert fault.remedy.startswith("start a worker whose application has the task renamed")
    beat(sql, types=["t", "renamed"])
    assert findings(sql, "unknown_type") == []


def test_jobs_that_wait_for_too_long_though_workers_live(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue()
    sql.enqueue("paused")
    sql("pause_tenant", user="jf_admin", tenant_id="paused")
    clock.advance(minutes=10)
    beat(sql)
    fault = found(sql, "late_jobs")
    assert (fault.level, fault.remedy) == (Level.NOTE, f"jobforge why {job}")
    clock.advance(hours=1)
    beat(sql)
    assert found(sql, "late_jobs").level == Level.WARNING
    work(sql)
    assert findings(sql, "late_jobs") == []  # a paused tenant's are meant to wait


def test_a_lease_that_nobody_takes_back(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue()
    sql.claim_one()
    clock.advance(minutes=3)
    fault = found(sql, "expired_lease")
    assert (fault.level, fault.object) == (Level.ERROR, f"job {job}")
    sql.session("jf_admin").execute(fault.remedy.encode())
    assert findings(sql, "expired_lease") == []
    assert sql.state(job) == "queued"


def test_a_job_whose_workers_die(sql: Sql, clock: Clock) -> None:
    job = sql.enqueue()
    lose_worker(sql, clock, 2)
    fault = found(sql, "suspect_job")
    assert (fault.level, fault.remedy) == (Level.WARNING, f"jobforge jobs show {job}")
    assert findings(sql, "killer_job") == []
    lose_worker(sql, clock, 3)
    fault = found(sql, "killer_job")
    assert fault.detail.startswith("t of a has killed 5 workers, the last at 20")
    assert findings(sql, "suspect_job") == []
    sql("retry_job", tenant="a", job_id=job)
    assert findings(sql, "killer_job") == []


def test_a_worker_that_was_killed(sql: Sql, clock: Clock) -> None:
    beat(sql, name="web-1 4711")
    assert findings(sql, "dead_worker") == []
    clock.advance(minutes=2)
    fault = found(sql, "dead_worker")
    assert (fault.level, fault.object) == (Level.NOTE, "worker web-1 4711")
    clock.advance(hours=1)
    sql("upkeep")
    assert findings(sql, "dead_worker") == []


def test_a_tenant_that_was_paused_and_forgotten(sql: Sql) -> None:
    job = sql.enqueue()
    sql("pause_tenant", user="jf_admin", tenant_id="a")
    reasons = sql("why_job", tenant="a", job_id=job)
    assert reasons[0]["code"] == "tenant_paused"
    sql("resume_tenant", user="jf_admin", tenant_id="a")
    work(sql)
    assert sql.state(job) == "succeeded"


def test_somebody_holds_a_snapshot(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    soon(monkeypatch, "old_snapshot", "interval '5 minutes'", "interval '0'")
    sql.session("postgres").execute("grant pg_read_all_stats to jf_admin")
    holder = sql.connect("jf_app", isolation="repeatable read")
    holder.execute("select 1")
    fault = found(sql, "old_snapshot")
    assert fault.object == f"backend {holder.info.backend_pid}"
    sql.session("postgres").execute(fault.remedy.encode())
    wait_for(lambda: findings(sql, "old_snapshot") == [], what="the session to end")
    sql.session("postgres").execute("revoke pg_read_all_stats from jf_admin")


def test_a_function_that_was_changed_by_hand(sql: Sql) -> None:
    body = sql.look("select pg_get_functiondef('jobforge.retry_delay'::regproc) as text")[0]["text"]
    sql.session("postgres").execute(body.replace("3600", "7200").encode())
    fault = found(sql, "drift")
    assert (fault.level, fault.object[:29]) == (Level.ERROR, "function jobforge.retry_delay")
    assert fault.remedy.startswith("restore it as revision 0002 made it, which is written in ")
    sql.session("postgres").execute(body.encode())
    assert findings(sql, "drift") == []


def test_autovacuum_that_is_off_for_a_table(sql: Sql) -> None:
    sql.session("postgres").execute("alter table jobforge.ready set (autovacuum_enabled = off)")
    fault = found(sql, "autovacuum_off")
    assert (fault.level, fault.object) == (Level.ERROR, "table jobforge.ready")
    sql.session("postgres").execute(fault.remedy.encode())
    assert findings(sql, "autovacuum_off") == []


def test_rows_that_wait_for_vacuum(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    soon(monkeypatch, "dead_rows", "> 100000 + s.n_live_tup", "> 100")
    sql.session("postgres").execute("alter table jobforge.ready set (autovacuum_enabled = off)")
    sql.fill("a", 300)
    while runs := sql.claim(100):
        for run in runs:
            sql.complete(run)

    def of_ready() -> list[Finding]:  # a session tells of what it did when it is idle, after a second or ten
        for user in ("jf_app", "jf_worker"):
            sql.session(user).execute("select pg_stat_force_next_flush()")
        return [one for one in findings(sql, "dead_rows") if one.object == "table jobforge.ready"]

    (fault,) = wait_for(of_ready, 30, "the dead rows to be counted")
    assert fault.level == Level.WARNING
    sql.session("postgres").execute(fault.remedy.encode())
    assert all(one.object != "table jobforge.ready" for one in findings(sql, "dead_rows"))


def test_a_machine_whose_clock_is_wrong(sql: Sql, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return datetime.now(tz) - dt.timedelta(hours=1)

    assert findings(sql, "clock_skew") == []
    monkeypatch.setattr("jobforge_sa.ops.doctor.dt.datetime", Late)
    fault = found(sql, "clock_skew")
    assert (fault.level, fault.detail[:31]) == (Level.NOTE, "it is 1h00m behind the database")


def test_a_server_without_autovacuum_and_almost_without_connections() -> None:
    server = EmbeddedServer(settings={"autovacuum": "off", "max_connections": "20"})
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", pool_size=20)
    try:
        assert _of_server(engine, "autovacuum_off").object == "autovacuum"
        held = [engine.connect() for _ in range(15)]
        fault = _of_server(engine, "few_connections")
        assert fault.detail.startswith("16 of 17 are in use")
        held[0].exec_driver_sql(_of_server(engine, "autovacuum_off").remedy.partition(";")[0])
        held[0].exec_driver_sql("select pg_reload_conf()")
        for connection in held:
            connection.close()
    finally:
        engine.dispose()
        server.stop()


def _of_server(engine: sa.Engine, name: str) -> Finding:
    (check,) = (one for one in doctor.checks("server") if one.name == name)
    with engine.connect() as connection:
        (fault,) = doctor.run(connection, check)
    return fault


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
    soon(monkeypatch, name, old, new)
    assert found(sql, name).level == level


def soon(monkeypatch: pytest.MonkeyPatch, name: str, old: str, new: str) -> None:
    """Let a check look with another limit: for what no test can wait for."""
    known: Callable[..., tuple[Check, ...]] = doctor.checks

    def changed(group: str = "") -> tuple[Check, ...]:
        return tuple(
            Check(one.name, one.why, one.query.replace(old, new)) if one.name == name else one for one in known(group)
        )

    assert any(old in one.query for group in ("server", "connection") for one in known(group) if one.name == name)
    monkeypatch.setattr(doctor, "checks", changed)


def test_each_check_of_the_server_and_of_the_work_has_its_fault_here() -> None:
    with open(__file__, encoding="utf-8") as file:
        here = file.read()
    names = [one.name for group in ("server", "work") for one in doctor.checks(group)]
    assert [name for name in names if f'"{name}"' not in here] == []
