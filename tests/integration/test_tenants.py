"""Tenants for administrators: paused, limited, exported and purged, while a worker and other tenants go on."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import threading
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from jobforge_sa import AsyncJobs, Context, Delays, JobForge, Jobs, TenantKey, Tenants, Worker, bind_tenant, tenants
from jobforge_sa.errors import (
    AccessDenied,
    ConfigurationError,
    QuotaExceeded,
    SchemaMismatch,
    TenantConflict,
    TokensUncheckedWarning,
    WrongIsolation,
)
from jobforge_sa.limits import Limit
from jobforge_sa.ops.tenants import tenancy
from tests.fix_postgres import Database
from tests.support import wait_for

forge = JobForge()
HOSTILE = ["it's", "a\nb\r", '"; drop table jobforge.jobs; --', "\x1b]0;owned\x07\x9b2J", "\u202eeman", "x" * 200, "-v"]


@forge.task()
def note(ctx: Context, payload: dict[str, Any]) -> None:
    ctx.session.execute(sa.text("insert into effects values (:n, jobforge.current_tenant())"), {"n": payload["n"]})


def fill(database: Database, tenant: str, count: int = 1, **options: Any) -> list[Any]:
    with Session(database.engine("jf_one")) as session, session.begin():
        made = Jobs(session, tenant=tenant).enqueue_many([note.new({"n": n}, **options) for n in range(count)])
    return [one.id for one in made]


def effects(database: Database) -> list[tuple[int, str]]:
    with database.engine().connect() as c:
        return [(n, tenant) for n, tenant in c.execute(sa.text("select n, tenant from effects order by 2, 1"))]


@pytest.fixture
def shop(database: Database) -> Database:
    with database.engine().begin() as c:
        c.execute(sa.text("create table effects (n int, tenant text)"))
        c.execute(sa.text("grant all on effects to public"))
    return database


def working(database: Database, registry: JobForge = forge) -> Worker:
    return Worker(
        database.engine("jf_one"), registry, poll=dt.timedelta(milliseconds=50), grace=dt.timedelta(seconds=5)
    )


def admin(database: Database, user: str = "jf_admin") -> sa.Connection:
    return database.engine(user).connect()


# --- what each call answers --------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["jf_admin", "jf_one", "postgres"])
def test_an_administrator_pauses_limits_lists_and_counts(database: Database, user: str) -> None:
    fill(database, "acme", 3)
    fill(database, "acme", 2, delay=dt.timedelta(hours=1))
    with Session(database.engine(user)) as session, session.begin():
        tenants = Tenants(session)
        paused = tenants.pause("acme")
        assert tenants.limit("acme", max_waiting=5) == Limit("tenant", "acme", paused.paused_at, max_waiting=5)
        assert tenants.limit(7, max_waiting=0).name == "7"
        acme, seven = reversed(tenants.list())
        count = tenants.count("acme")
        resumed = tenants.resume("acme")
        assert session.scalar(sa.text("select current_setting('role')")) == "none"

    assert paused.paused_at is not None
    assert (acme.queued, acme.scheduled, acme.running, acme.waiting, acme.max_waiting) == (3, 2, 0, 5, 5)
    assert acme.paused_at == paused.paused_at
    assert (seven.tenant_id, seven.max_waiting) == ("7", 0)
    assert (count.jobs, count.rows["scheduled"], count.rows["limits"], count.empty) == (5, 2, 1, False)
    assert resumed == Limit("tenant", "acme", max_waiting=5)
    with admin(database) as c:
        assert Tenants(c).limit("acme", max_waiting=None) == Limit("tenant", "acme")
        assert Tenants(c).resume("nobody") == Limit("tenant", "nobody")
        assert Tenants(c).count("nobody").empty


@pytest.mark.parametrize("user", ["jf_app", "jf_worker", "jf_stranger"])
def test_who_is_no_administrator_is_refused_with_the_cure(database: Database, user: str) -> None:
    for name in ("pause", "resume", "count", "purge", "export", "act_for"):
        with database.engine(user).connect() as c, pytest.raises(AccessDenied) as caught:
            list(getattr(Tenants(c), name)("acme"))
        assert "connect as a login of jobforge_admin that the application does not use" in caught.value.cure
    with database.engine(user).connect() as c, pytest.raises(AccessDenied):
        Tenants(c).list()


def test_a_login_that_does_not_inherit_the_role_acts_as_it_for_the_call_alone(database: Database) -> None:
    with database.engine(isolation_level="AUTOCOMMIT").connect() as dba:
        dba.execute(sa.text("create role jf_later login noinherit"))
        dba.execute(sa.text("grant jobforge_admin to jf_later"))
        if (password := database.url().password) is not None:
            dba.exec_driver_sql(f"alter role jf_later password '{password}'")
    try:
        with database.engine("jf_later").begin() as c:
            Tenants(c).pause("acme")
            assert c.scalar(sa.text("select current_user")) == "jf_later"
    finally:
        database.dispose()
        with database.engine(isolation_level="AUTOCOMMIT").connect() as dba:
            dba.execute(sa.text("drop role jf_later"))


def test_what_cannot_work_is_said_before_the_database_is_asked(database: Database) -> None:
    with admin(database) as c:
        for call in (
            lambda: Tenants(c).pause(""),
            lambda: Tenants(c).pause("x" * 201),
            lambda: Tenants(c).count("nul\x00"),
            lambda: Tenants(c).limit("a", max_waiting=-1),
            lambda: Tenants(c).limit("a", max_waiting=10_000_001),
            lambda: Tenants(c).purge("a", 0),
            lambda: Tenants(database.engine()),  # type: ignore[arg-type]
        ):
            with pytest.raises(ConfigurationError):
                call()
        assert not c.in_transaction()


def test_a_database_that_is_not_migrated_is_told_the_command(bare_database: Database) -> None:
    with bare_database.engine().connect() as c, pytest.raises(SchemaMismatch, match="jobforge migrate"):
        Tenants(c).list()


def test_a_purge_above_read_committed_is_refused(database: Database) -> None:
    engine = database.engine("jf_admin", isolation_level="REPEATABLE READ")
    with engine.connect() as c, pytest.raises(WrongIsolation):
        Tenants(c).purge("acme")


# --- pause -------------------------------------------------------------------------------------------------


def test_a_paused_tenants_jobs_run_after_it_is_resumed_and_not_before(shop: Database) -> None:
    fill(shop, "acme")
    with Session(shop.engine("jf_admin")) as session, session.begin():
        Tenants(session).pause("acme")
    with working(shop):
        fill(shop, "acme", 2)
        fill(shop, "other", 3)
        wait_for(lambda: len(effects(shop)) >= 3, what="the other tenant's jobs to run")
        fill(shop, "other", 1)  # claimed after the paused ones could have been
        wait_for(lambda: len(effects(shop)) >= 4, what="one more round")
        assert {tenant for _, tenant in effects(shop)} == {"other"}
        with Session(shop.engine("jf_admin")) as session, session.begin():
            Tenants(session).resume("acme")
        wait_for(lambda: len(effects(shop)) == 7, what="the resumed tenant's jobs to run")
    assert [one for one in effects(shop) if one[1] == "acme"] == [(0, "acme"), (0, "acme"), (1, "acme")]


# --- quotas ------------------------------------------------------------------------------------------------


def limited(database: Database, quota: int) -> None:
    with Session(database.engine("jf_admin")) as session, session.begin():
        Tenants(session).limit("acme", max_waiting=quota)


def fit_to_show(error: QuotaExceeded) -> None:
    assert error.message == "the tenant's quota of 2 waiting jobs is used up"
    assert error.cure


def test_an_enqueue_over_the_quota_is_an_error_to_show_and_stores_nothing(database: Database) -> None:
    limited(database, 2)
    with Session(database.engine("jf_app")) as session:
        jobs = Jobs(session, tenant="acme")
        jobs.enqueue(note, {"n": 1})
        jobs.enqueue(note, {"n": 2}, delay=dt.timedelta(hours=1))
        with pytest.raises(QuotaExceeded) as caught, session.begin_nested():
            jobs.enqueue(note, {"n": 3})
        fit_to_show(caught.value)
        session.commit()
    with Session(database.engine("jf_app")) as session, pytest.raises(QuotaExceeded) as caught:
        Jobs(session, tenant="acme").enqueue_many([note.new({"n": n}) for n in range(2)])
    fit_to_show(caught.value)
    fill(database, "other", 5)

    with admin(database) as c:
        assert Tenants(c).count("acme").jobs == 2


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_the_quota_reaches_async_applications_alike(database: Database, driver: str) -> None:
    limited(database, 2)

    async def run() -> None:
        engine = create_async_engine(database.url("jf_app").set(drivername=f"postgresql+{driver}"))
        try:
            async with engine.connect() as c:
                with pytest.raises(QuotaExceeded) as caught:
                    await AsyncJobs(c, tenant="acme").enqueue_many([note.new({"n": n}) for n in range(3)])
                fit_to_show(caught.value)
                await c.rollback()
                for n in range(2):
                    await AsyncJobs(c, tenant="acme").enqueue(note, {"n": n})
                with pytest.raises(QuotaExceeded) as caught:
                    await AsyncJobs(c, tenant="acme").enqueue(note, {"n": 3})
                fit_to_show(caught.value)
        finally:
            await engine.dispose()

    asyncio.run(run())


# --- acting for a tenant -----------------------------------------------------------------------------------


@pytest.mark.parametrize("signed", [False, True])
def test_an_administrator_acts_for_a_tenant_under_either_tenancy(database: Database, signed: bool) -> None:
    (theirs,) = fill(database, "other")
    (ours,) = fill(database, "acme")
    if signed:
        tenancy.add_key(database.engine(), "k")
        tenancy.use(database.engine(), "signed")
    with Session(database.engine("jf_admin")) as session, session.begin():
        jobs = Tenants(session).act_for("acme")
        made = jobs.enqueue(note, {"n": 5}).id
        assert jobs.cancel(ours).state == "canceled"
        assert {one.id for one in jobs.list().jobs} == {ours, made}
    with Session(database.engine("jf_admin")) as session, session.begin():
        assert Tenants(session).act_for("other").get(theirs).tenant_id == "other"


def test_a_session_of_another_tenant_does_not_act_for_one(database: Database) -> None:
    with Session(database.engine("jf_admin")) as session:
        bind_tenant(session, "other")
        with pytest.raises(TenantConflict):
            Tenants(session).act_for("acme")


# --- export ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tenant", HOSTILE)
def test_an_export_is_one_ascii_line_for_each_job_whatever_is_in_it(database: Database, tenant: str) -> None:
    document = (
        '{"breaks":\r\n [1,\n 2.50], "text": "\x7f \x9b2J \u202e \U0001f600 é", "big": 12345678901234567890123.10}'
    )
    with database.engine("jf_app").begin() as c:
        c.execute(sa.text("select set_config('jobforge.tenant_id', :t, true)"), {"t": tenant})
        c.execute(sa.text("select jobforge.enqueue_job('t', cast(:p as json))"), {"p": document})
    fill(database, "other")

    with admin(database) as c:
        (line,) = Tenants(c).export(tenant)

    assert line.isascii()
    assert line.isprintable()
    job = json.loads(line)["job"]
    assert (job["tenant_id"], job["payload"]) == (tenant, json.loads(document))
    assert "12345678901234567890123.10" in line  # no number has passed through a float


def test_an_export_reads_page_by_page_and_keeps_pages_of_large_jobs_short(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenants, "PAGE_BYTES", 50_000)
    made = fill(database, "acme", 600)
    with Session(database.engine("jf_one")) as session, session.begin():
        jobs = Jobs(session, tenant="acme")
        made += [one.id for one in jobs.enqueue_many([note.new({"text": "x" * 10_000}) for _ in range(220)])]
    pages: list[int] = []
    engine = database.engine("jf_admin")

    @sa.event.listens_for(engine, "after_cursor_execute")
    def count(c: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "export_tenant" in statement:
            pages.append(cursor.rowcount)

    with engine.connect() as c:
        lines = Tenants(c).export("acme")
        first = next(lines)
        assert len(pages) == 1
        rest = [json.loads(line)["job"]["id"] for line in lines]

    assert [json.loads(first)["job"]["id"], *rest] == [str(one) for one in made]
    assert max(pages) == 200
    assert max(pages[-6:]) == 4  # from the second page of large ones on


def test_an_export_meets_each_job_by_its_key_without_statistics_too(database: Database) -> None:
    fill(database, "acme", 3000)
    with admin(database) as c:
        plan = sa.text("explain (analyze, buffers, format json) select from jobforge.export_tenant('acme', null, 50)")
        read = c.scalar(plan)[0]["Plan"]["Shared Hit Blocks"]
    assert read < 50 * 100


# --- purge -------------------------------------------------------------------------------------------------


def purge(database: Database, tenant: str, limit: int) -> int:
    met = 0
    while True:
        with Session(database.engine("jf_admin")) as session, session.begin():
            batch = Tenants(session).purge(tenant, limit)
        if not batch:
            return met
        met += batch


def test_a_purge_during_work_rolls_its_handlers_back_and_harms_nobody_else(shop: Database) -> None:
    started, gate = threading.Event(), threading.Event()
    registry = JobForge()
    ends: list[str] = []

    @registry.task("note")
    def held(ctx: Context, payload: dict[str, Any]) -> None:
        note.handler(ctx, payload)
        if ctx.job.tenant_id == "acme":
            started.set()
            assert gate.wait(20)
        ends.append(ctx.job.tenant_id)

    fill(shop, "acme", 30)
    others = fill(shop, "other", 40)
    fill(shop, "acme", 5, delay=dt.timedelta(hours=1), idempotency_key=None)
    with working(shop, registry) as worker:
        assert started.wait(10)
        with Session(shop.engine("jf_admin")) as session, session.begin():
            Tenants(session).pause("acme")
        assert purge(shop, "acme", 7) >= 35
        gate.set()
        wait_for(lambda: len(effects(shop)) == len(others), what="the other tenant's jobs to end")
        assert worker.drain(10)

    assert "acme" in ends  # a handler has come to its end, and its writes are gone
    assert {tenant for _, tenant in effects(shop)} == {"other"}
    with admin(shop) as c:
        assert Tenants(c).count("acme").empty
        assert Tenants(c).count("other").rows["outcomes"] == len(others)
        assert Tenants(c).list() == []


def test_a_purged_tenant_is_as_new_and_its_keys_are_free(database: Database) -> None:
    (before,) = fill(database, "acme", idempotency_key="k")
    limited(database, 1)
    assert purge(database, "acme", 1000) == 1
    after = fill(database, "acme", idempotency_key="k") + fill(database, "acme")
    assert before not in after


# --- signed tenancy ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")
def test_a_worker_runs_through_a_whole_rotation_of_keys(shop: Database) -> None:
    """Under every stage of it the jobs of an application that signs as it should are run, under their tenant."""
    dba, app = shop.engine(), shop.engine("jf_app")
    stages = 0

    def enqueue(key: TenantKey) -> None:
        nonlocal stages
        stages += 1
        with Session(app) as session, session.begin():
            Jobs(session, tenant=key.tenant("acme")).enqueue(note, {"n": stages})
        wait_for(lambda: len(effects(shop)) == stages, what=f"the job of stage {stages} to run")

    with working(shop):
        first, _ = tenancy.add_key(dba, "first")
        with pytest.warns(TokensUncheckedWarning):
            enqueue(first)
        tenancy.use(dba, "signed")
        enqueue(first)
        second, _ = tenancy.add_key(dba, "second")
        enqueue(first)
        enqueue(second)
        tenancy.retire_key(dba, "first", None)
        enqueue(second)
    assert effects(shop) == [(n, "acme") for n in range(1, stages + 1)]


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")
def test_a_handler_whose_key_is_retired_under_it_fails_that_attempt_and_is_run_again(shop: Database) -> None:
    dba, registry = shop.engine(), JobForge()
    started, gate = threading.Event(), threading.Event()

    @registry.task("note", retry=Delays(dt.timedelta(milliseconds=20)))
    def stepwise(ctx: Context, payload: dict[str, Any]) -> None:
        ctx.session.commit()
        started.set()
        assert gate.wait(20)
        note.handler(ctx, payload)

    key, _ = tenancy.add_key(dba, "first")
    tenancy.use(dba, "signed")
    with Session(shop.engine("jf_app")) as session, session.begin():
        job = Jobs(session, tenant=key.tenant("acme")).enqueue(stepwise, {"n": 1}).id
    with working(shop, registry):
        assert started.wait(10)
        tenancy.add_key(dba, "second")
        with pytest.raises(ConfigurationError, match=r"(?s)1 running job was .*--at 1h.*--now"):
            tenancy.retire_key(dba, "first", None)
        tenancy.retire_key(dba, "first", None, force=True)
        gate.set()
        wait_for(lambda: effects(shop) == [(1, "acme")], what="the second attempt to succeed")
    with dba.connect() as c:
        ends = c.execute(
            sa.text("select outcome, error ->> 'message' from jobforge.attempts where job_id = :id order by run"),
            {"id": job},
        ).all()
    assert [outcome for outcome, _ in ends] == ["failed", "succeeded"]
    assert "token is not valid" in ends[0][1]


def leases(engine: sa.Engine) -> int:
    with engine.connect() as c:
        return int(c.scalar(sa.text("select count(*) from jobforge.leases")) or 0)


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")
def test_a_switch_to_signed_waits_for_handlers_that_have_no_token(shop: Database) -> None:
    """Who was claimed before there was a key would fail; who was claimed behind it goes through the switch unharmed."""
    dba, registry = shop.engine(), JobForge()
    started, gate = threading.Semaphore(0), threading.Semaphore(0)

    @registry.task("note", max_attempts=1)
    def waiting(ctx: Context, payload: dict[str, Any]) -> None:
        started.release()
        assert gate.acquire(timeout=20)
        note.handler(ctx, payload)

    with working(shop, registry):
        for n in (1, 2):
            with Session(shop.engine("jf_app")) as session, session.begin():
                Jobs(session, tenant="acme").enqueue(waiting, {"n": n})
            assert started.acquire(timeout=10)
            if n == 1:
                tenancy.add_key(dba, "first")
                with pytest.raises(ConfigurationError, match=r"(?s)1 running job was .*cure: .*--now"):
                    tenancy.use(dba, "signed")
                gate.release()
                wait_for(lambda: not leases(dba), what="the first job to end")
        tenancy.use(dba, "signed")
        gate.release()
        wait_for(lambda: not leases(dba), what="the second job to end, under signed tenancy")
    assert effects(shop) == [(1, "acme"), (2, "acme")]
