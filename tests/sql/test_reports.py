"""The reports of a period, in SQL: counted by hand, their edges, whose they are, what they read."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from psycopg.types.json import Json

from benchmarks import crowd
from jobforge_sa import TenantKey
from tests.fix_postgres import Database
from tests.sql.test_plans import pages
from tests.support import Row, Sql, one_database, refused

REPORTS = ("report_usage_summary", "report_job_analytics", "report_tenant_usage")
DAY = dt.timedelta(days=1)


@pytest.fixture(scope="module")
def told(admin_url: sa.URL, template: str) -> Iterator[tuple[Sql, dt.datetime]]:
    """Three days of a tenant, counted by hand below, and as many jobs of another beside them; the first midnight."""
    with one_database(admin_url, template) as database, Sql(database) as sql:
        clock = sql.clock()
        midnight = (clock.now() + DAY).replace(hour=0, minute=0, second=0, microsecond=0)
        clock.advance(seconds=(midnight - clock.now()).total_seconds())
        for ran in (100, 200, 300, 400):  # the first day: four succeed, each 10 s after it was due
            job(sql, clock, "mail", waits=10, ran=ran, payload={"n": ran})
        job(
            sql, clock, "pay", "failed", "failed", "succeeded", waits=1, ran=1000
        )  # the second: two errors, one retry each
        clock.advance(seconds=(midnight + DAY - clock.now()).total_seconds())
        job(sql, clock, "pay", "failed", waits=2, ran=2000, max_attempts=1)
        job(sql, clock, "pay", "lost", "timed_out", waits=4, ran=3000, max_attempts=1)
        sql("cancel_job", tenant="a", job_id=sql.enqueue("a", "mail"))
        sql.enqueue("a", "mail", queue="slow")
        job(sql, clock, "mail", waits=0, ran=9, tenant="b")
        yield sql, midnight
        clock.remove()


def job(
    sql: Sql, clock: Any, type_: str, *outcomes: str, waits: float, ran: int, tenant: str = "a", **options: Any
) -> uuid.UUID:
    """A job that waits so long, and whose runs end so one after the other; the default is well, with a result."""
    made = sql.enqueue(tenant, type_, options.pop("payload", None), **options)
    clock.advance(seconds=waits)
    for outcome in outcomes or ("succeeded",):
        run = sql.claim_one(types=[type_]) if outcome != "again" else None
        assert run is not None
        if outcome == "lost":
            sql("heartbeat_jobs", worker_id=sql.worker, runs=[], alive="0")
            sql("rescue_expired_jobs")
            continue
        more: dict[str, Any] = (
            {"result": {"ok": True}} if outcome == "succeeded" else {"error": {"type": outcome.title()}}
        )
        assert sql.complete(run, outcome, run_ms=ran, delay=0, **more) == "done"
    return made


def report(sql: Sql, function: str, begin: object, until: object, tenant: str | None = "a", **more: Any) -> list[Row]:
    period: dict[str, Any] = {"from": begin, "until": until}
    return sql(function, tenant=tenant, **period | more)


def counts(row: Row) -> list[int]:
    return [row[name] for name in ("enqueued", "succeeded", "dead", "canceled", "unfinished", "attempts")]


# -- the numbers -----------------------------------------------------------------------


def test_the_summary_is_what_a_hand_counts(told: tuple[Sql, dt.datetime]) -> None:
    sql, midnight = told
    total, first, second, third = report(sql, "report_usage_summary", midnight, midnight + 3 * DAY)

    assert counts(total) == [9, 5, 2, 1, 1, 9]
    assert (total["day"], total["back_to"]) == (None, None)
    assert counts(first) == [5, 5, 0, 0, 0, 7]
    assert first["run_seconds"] == pytest.approx(0.1 + 0.2 + 0.3 + 0.4 + 3 * 1)
    assert counts(second) == [4, 0, 2, 1, 1, 2]
    assert second["run_seconds"] == pytest.approx(2 + 3)  # of the lost run nobody knows
    assert counts(third) == [0] * 6
    assert (third["run_seconds"], third["day"]) == (0, (midnight + 2 * DAY).date())


def test_the_analytics_are_what_a_hand_counts(told: tuple[Sql, dt.datetime]) -> None:
    sql, midnight = told
    total, mail, pay = report(sql, "report_job_analytics", midnight, midnight + 3 * DAY)

    assert [row["type"] for row in (total, mail, pay)] == [None, "mail", "pay"]
    assert [counts(row) for row in (mail, pay)] == [[6, 4, 0, 1, 1, 4], [3, 1, 2, 0, 0, 5]]
    assert [(row["retries"], row["lost"], row["kinds"]) for row in (total, mail, pay)] == [
        (2, 1, 2),
        (0, 0, 1),
        (2, 1, 1),
    ]
    assert [row["success_rate"] for row in (total, mail, pay)] == pytest.approx([5 / 7, 1, 1 / 3])
    # continuous percentiles of 0.1 0.2 0.3 0.4; of 1 1 1 2 3
    assert [mail[f"run_p{n}"] for n in (50, 95, 99)] == pytest.approx([0.25, 0.385, 0.397])
    assert [pay[f"run_p{n}"] for n in (50, 95, 99)] == pytest.approx([1, 2.8, 2.96])
    assert [mail[f"wait_p{n}"] for n in (50, 95, 99)] == pytest.approx([10, 10, 10])
    assert [pay[f"wait_p{n}"] for n in (50, 95, 99)] == pytest.approx([2, 3.8, 3.96])
    assert (
        pay["errors"]
        == total["errors"]
        == [{"type": name, "count": count} for name, count in (("Failed", 3), ("Timed_Out", 1), ("WorkerLost", 1))]
    )
    assert mail["errors"] == []


def test_the_usage_is_what_a_hand_counts(told: tuple[Sql, dt.datetime]) -> None:
    sql, midnight = told
    total, mail, pay, slow = report(sql, "report_tenant_usage", midnight, midnight + 3 * DAY)

    assert [(row["queue"], row["type"], row["enqueued"]) for row in (total, mail, pay, slow)] == [
        (None, None, 9), ("default", "mail", 5), ("default", "pay", 3), ("slow", "mail", 1),
    ]  # fmt: skip
    # text of a few bytes has one more before it: {"n": 100} is 10
    assert [row["payload_bytes"] for row in (mail, pay, slow)] == [4 * 11 + 3, 3 * 3, 3]
    assert [row["result_bytes"] for row in (mail, pay, slow)] == [4 * 13, 13, 0]  # {"ok": true}
    assert [row["attempts"] for row in (total, mail, pay, slow)] == [9, 4, 5, 0]
    assert total["run_seconds"] == pytest.approx(9)
    assert (total["kinds"], total["max_waiting"], total["paused_at"]) == (3, None, None)
    assert (total["max_artifact_bytes"], mail["max_artifact_bytes"]) == (1_048_576, None)


def test_nothing_is_zeros_and_nulls(sql: Sql) -> None:
    begin = sql.look("select jobforge.now() as at")[0]["at"].replace(hour=0, minute=0, second=0, microsecond=0)
    total, only = report(sql, REPORTS[0], begin, begin + DAY)
    assert counts(total) == counts(only) == [0] * 6
    (total,) = report(sql, REPORTS[1], begin, begin + DAY)
    assert counts(total) == [0] * 6
    assert {total[name] for name in total if name.startswith(("run_", "wait_", "success", "back"))} == {None}
    assert (total["errors"], total["kinds"]) == ([], 0)
    (total,) = report(sql, REPORTS[2], begin, begin + DAY)
    assert (total["enqueued"], total["payload_bytes"], total["run_seconds"], total["kinds"]) == (0, 0, 0, 0)


def test_the_limits_in_force_are_told_and_the_artifacts_are_counted(sql: Sql) -> None:
    sql("limit_tenant", user="jf_admin", tenant_id="a", change={"max_waiting": 7})
    sql("pause_tenant", user="jf_admin", tenant_id="b")
    sql.enqueue("a")
    run = sql.claim_one()
    sql(
        "store_artifact",
        job_id=run["job_id"],
        lease_token=run["lease_token"],
        name="x",
        media_type="text/plain",
        body=b"12345",
    )
    sql.complete(run)
    now = sql.look("select jobforge.now() as at")[0]["at"]

    total, only = report(sql, REPORTS[2], now - DAY, now + DAY)
    assert (total["max_waiting"], total["paused_at"], total["artifact_bytes"]) == (7, None, 6)
    assert only["artifact_bytes"] == 6
    assert report(sql, REPORTS[2], now - DAY, now + DAY, tenant="b")[0]["paused_at"] is not None


# -- the period ------------------------------------------------------------------------


def test_a_period_has_its_first_moment_and_not_its_last(sql: Sql) -> None:
    clock = sql.clock()
    begin = clock.now().replace(microsecond=500)
    clock.advance(seconds=(begin - clock.now()).total_seconds())
    sql.fill("a", 500)  # their ids lie up to half a millisecond behind
    clock.advance(seconds=0.0002)
    later = clock.now()
    sql.enqueue("a", "later")
    for until, expected in ((later, 500), (later + dt.timedelta(microseconds=1), 501)):
        assert {report(sql, name, begin, until)[0]["enqueued"] for name in REPORTS} == {expected}
    assert {report(sql, name, later, later + DAY)[0]["enqueued"] for name in REPORTS} == {1}
    assert {report(sql, name, later + DAY, later + 2 * DAY)[0]["enqueued"] for name in REPORTS} == {0}


def test_a_day_is_utcs_whatever_the_session_takes_for_its_zone(sql: Sql) -> None:
    begin = dt.datetime(2026, 3, 28, 23, 30, tzinfo=dt.UTC)
    session = sql.session("jf_app")
    session.execute("set timezone = 'Europe/Berlin'")
    try:
        rows = report(sql, REPORTS[0], begin, begin + DAY)
    finally:
        session.execute("reset timezone")
    assert [row["day"] and row["day"].isoformat() for row in rows] == [None, "2026-03-28", "2026-03-29"]


@pytest.mark.parametrize("name", REPORTS)
def test_what_cannot_be_a_period_is_refused(sql: Sql, name: str) -> None:
    now = sql.look("select jobforge.now() as at")[0]["at"]
    for begin, until in (
        (now, now),
        (now, now - DAY),
        (now, None),
        (None, now),
        (now, "infinity"),
        (now, now + 367 * DAY),
    ):
        with refused("JF003", "366 days"):
            report(sql, name, begin, until)
    for limit in (0, 10_000_001):
        with refused("JF003", "p_limit"):
            report(sql, name, now - DAY, now, limit=limit)
    assert report(sql, name, now - 366 * DAY, now)


def test_where_there_is_more_than_was_looked_at_it_says_since_when(sql: Sql) -> None:
    clock = sql.clock()
    begin = clock.now()
    for _ in range(4):
        sql.enqueue("a")
        clock.advance(hours=1)
    for name in REPORTS:
        total = report(sql, name, begin, begin + DAY, limit=3)[0]
        assert (total["enqueued"], total["back_to"]) == (3, begin + dt.timedelta(hours=1))
        assert report(sql, name, begin, begin + DAY, limit=5)[0]["back_to"] is None


def test_complete_since_is_of_the_kind_that_is_kept_for_the_shortest_time(sql: Sql) -> None:
    def kept() -> float:
        asked = "select extract(epoch from jobforge.now() - jobforge.complete_since()) / 86400 as days"
        return float(sql.look(asked, user="jf_app")[0]["days"])

    assert kept() == pytest.approx(7, abs=0.01)
    try:
        sql("set_retention", user="jf_admin", kind="succeeded", keep="1 day", type="t")
        sql("set_retention", user="jf_admin", kind="result", keep="1 hour", type="t")
        assert kept() == pytest.approx(1, abs=0.01)
    finally:
        for kind in ("succeeded", "result"):
            sql("drop_retention", user="jf_admin", kind=kind, type="t")


# -- whose -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("user", ["jf_app", "jf_admin", "jf_one", "postgres"])
def test_a_tenant_is_told_of_its_own_jobs_by_any_login(told: tuple[Sql, dt.datetime], name: str, user: str) -> None:
    sql, midnight = told
    period: dict[str, Any] = {"from": midnight, "until": midnight + 3 * DAY}
    ours, theirs = (sql(name, tenant=tenant, user=user, **period) for tenant in "ab")
    assert (ours[0]["enqueued"], theirs[0]["enqueued"]) == (9, 1)
    assert all(row.get("type") in (None, "mail") for row in theirs)
    assert sql(name, tenant="c", user=user, **period)[0]["enqueued"] == 0
    with refused("JF001"):
        sql(name, user=user, **period)


@pytest.mark.parametrize("name", [*REPORTS, "report_jobs"])
def test_workers_and_strangers_are_told_nothing(sql: Sql, name: str) -> None:
    now = sql.look("select jobforge.now() as at")[0]["at"]
    for user in ("jf_worker", "jf_stranger"):
        with refused("42501"):
            sql(name, tenant="a", user=user, **{"from": now - DAY, "until": now, "limit": 1})


@pytest.mark.parametrize("name", REPORTS)
def test_where_tenants_are_signed_a_name_alone_is_told_nothing(sql: Sql, name: str) -> None:
    key = TenantKey.generate("reports")
    sql.enqueue("a")
    now = sql.look("select jobforge.now() as at")[0]["at"]
    period: dict[str, Any] = {"from": now - DAY, "until": now + DAY}
    owner = sql.session("postgres")
    owner.execute("select jobforge.add_tenant_key(%s, %s)", [key.id, key.secret])
    owner.execute("select jobforge.use_tenancy('signed')")
    with refused("JF001"):
        sql(name, tenant="a", **period)
    session = sql.session("jf_app")
    for tenant, expected in (("a", 1), ("b", 0)):
        with session.transaction():
            session.execute("select set_config('jobforge.tenant_token', %s, true)", [key.token(tenant)])
            found = session.execute(
                f"select enqueued from jobforge.{name}(%s, %s)".encode(), [period["from"], period["until"]]
            ).fetchone()
        assert found == {"enqueued": expected}
    admin = sql.session("jf_admin")
    with admin.transaction():
        admin.execute("select jobforge.act_for('a')")
        rows = admin.execute(f"select * from jobforge.{name}(%(from)s, %(until)s)".encode(), period).fetchall()
    assert rows[0]["enqueued"] == 1


# -- what it reads ---------------------------------------------------------------------

JOBS, TENANTS, SMALL = 40_000, 400, "tenant-0077"  # who has 100 of them; `huge` has 8,000
A_JOB = 14  # pages: a job, its outcome, its attempts, its result, its artifacts; each 3 of an index and one of a table
FEW = 150


@pytest.fixture(scope="module", params=["nothing", "all"])
def crowded(request: pytest.FixtureRequest, admin_url: sa.URL, template: str) -> Iterator[Database]:
    """Many tenants' jobs; its parameter is what the planner has seen of them."""
    with one_database(admin_url, template) as database:
        with database.engine().begin() as c:
            for table in ("jobs", "attempts", "outcomes", "ready", "scheduled", "leases"):
                c.exec_driver_sql(f"alter table jobforge.{table} set (autovacuum_enabled = off)")
            no_parameters = {"no_parameters": True}
            crowd.fill(
                lambda script: c.exec_driver_sql(script, execution_options=no_parameters), JOBS, TENANTS, share=20
            )
            if request.param == "all":
                c.exec_driver_sql("analyze")
        yield database


@pytest.mark.parametrize("name", REPORTS)
def test_a_report_reads_the_tenants_jobs_of_the_period_and_nothing_else(crowded: Database, name: str) -> None:
    with crowded.engine("jf_app").connect() as c:
        for minutes, jobs in ((1000, 100), (1, 15), (0.1, 1.5)):  # a job each 10 ms, one in 400 of them this tenant's
            for _ in range(2):  # the first call of a session reads the catalog as well
                c.execute(sa.text("select set_config('jobforge.tenant_id', :t, true)"), {"t": SMALL})
                read = pages(c, f"select * from jobforge.{name}(now() - interval '{minutes} minutes', now())")
            assert read < jobs * A_JOB + FEW, f"{minutes} minutes read {read} pages"
        c.execute(sa.text("select set_config('jobforge.tenant_id', 'huge', true)"))
        read = pages(c, f"select * from jobforge.{name}(now() - interval '1 day', now(), 500)")
        assert read < 500 * A_JOB + FEW, f"500 of 8,000 read {read} pages"


def test_a_million_types_would_be_one_hundred_rows(sql: Sql) -> None:
    sql("enqueue_jobs", tenant="a", jobs=Json([{"type": f"t{n:04}"} for n in range(2000)]))
    now = sql.look("select jobforge.now() as at")[0]["at"]
    rows = report(sql, REPORTS[1], now - DAY, now + DAY)
    assert (len(rows), rows[0]["kinds"], rows[0]["enqueued"]) == (101, 2000, 2000)
    rows = report(sql, REPORTS[2], now - DAY, now + DAY)
    assert (len(rows), rows[0]["kinds"]) == (201, 2000)
