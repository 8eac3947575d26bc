"""Signed tenants through every door of the library: sessions of all kinds, drivers, factories, registries."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from jobforge_sa import AsyncJobs, Context, JobForge, Jobs, TenantKey, bind_tenant, seal
from jobforge_sa.errors import (
    ConfigurationError,
    TenantConflict,
    TenantRequired,
    TokenRejected,
    TokensVisibleWarning,
)
from jobforge_sa.models import Job
from jobforge_sa.tenant import KEY_VARIABLE
from tests.security.guard import Attack

pytestmark = pytest.mark.filterwarnings("ignore::jobforge_sa.errors.TokensVisibleWarning")  # of psycopg2, seen below

KEY = TenantKey.generate("k1")
TENANT = sa.text("select jobforge.current_tenant()")

forge, ours = JobForge(), JobForge(tenant=KEY.tenant("main"))


@forge.task()
def ship(ctx: Context, payload: dict[str, int]) -> None: ...


@ours.task()
def send(ctx: Context, payload: dict[str, int]) -> None: ...


@pytest.fixture
def signed(attack: Attack) -> Attack:
    attack.sign(KEY)
    return attack


@pytest.fixture(params=["psycopg", "psycopg2"])
def engine(signed: Attack, request: pytest.FixtureRequest) -> Iterator[sa.Engine]:
    url = signed.url("jf_app").set(drivername=f"postgresql+{request.param}")
    engine = sa.engine_from_config({"url": url, "pool_size": "1", "max_overflow": "0"}, prefix="")
    seal(engine)
    yield engine
    engine.dispose()


def tenants(attack: Attack) -> list[str]:
    return [row["tenant_id"] for row in attack.look("select tenant_id from jobforge.jobs order by id")]


def test_a_bound_session_signs_each_of_its_transactions(signed: Attack, engine: sa.Engine) -> None:
    with Session(engine) as session:
        bind_tenant(session, KEY.tenant("a"))
        for _ in range(2):
            Jobs(session).enqueue(ship, {"n": 1})
            assert session.scalar(TENANT) == "a"
            with session.begin_nested() as savepoint:
                savepoint.rollback()
            assert session.scalar(TENANT) == "a"
            session.commit()
        assert len(session.scalars(sa.select(Job)).all()) == 2
    with Session(engine) as session:  # the same connection, by the pool's size
        assert session.scalar(TENANT) is None
        with pytest.raises(TenantRequired):
            Jobs(session).enqueue(ship, {"n": 1})


def test_factories_scopes_and_registries_sign_too(signed: Attack, engine: sa.Engine) -> None:
    factory = sessionmaker(engine)
    bind_tenant(factory, KEY.tenant("a"))
    with factory.begin() as session:
        Jobs(session).enqueue_many([ship.new({"n": n}) for n in range(3)])
    scope = scoped_session(sessionmaker(engine))
    bind_tenant(scope, KEY.tenant("b"))
    Jobs(scope).enqueue(ship, {"n": 1})
    scope.commit()
    scope.remove()
    with Session(engine) as session, session.begin():
        Jobs(session).enqueue(send, {"n": 1})
        Jobs(session).enqueue_many([send.new({"n": 1})])
    with engine.begin() as connection:
        Jobs(connection, tenant=KEY.tenant("c")).enqueue(ship, {"n": 1})
    assert tenants(signed) == ["a"] * 3 + ["b"] + ["main"] * 2 + ["c"]


def test_one_session_is_one_tenants_however_it_is_named(engine: sa.Engine) -> None:
    with Session(engine) as session:
        bind_tenant(session, KEY.tenant("a"))
        bind_tenant(session, KEY.tenant("a"))
        assert Jobs(session, tenant="a").enqueue(ship, {"n": 1}).created
        assert Jobs(session, tenant=KEY.tenant("a")).enqueue(ship, {"n": 1}).created
        for other in ("b", KEY.tenant("b")):
            with pytest.raises(TenantConflict):
                Jobs(session, tenant=other)
            with pytest.raises(TenantConflict):
                bind_tenant(session, other)


def test_a_plain_name_is_nobody_and_the_error_says_what_to_set(engine: sa.Engine) -> None:
    with Session(engine) as session, pytest.raises(TenantRequired, match="no tenant"):
        Jobs(session, tenant="a").enqueue(ship, {"n": 1})


def test_a_key_that_the_database_does_not_know_is_refused_with_the_cure(engine: sa.Engine) -> None:
    stranger = TenantKey.generate("k1")
    with Session(engine) as session, pytest.raises(TokenRejected, match=r"(?s)not valid.*cure: .*jobforge tenancy"):
        Jobs(session, tenant=stranger.tenant("a")).enqueue(ship, {"n": 1})


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_sessions_sign_too(signed: Attack, driver: str) -> None:
    async def work() -> None:
        engine = create_async_engine(signed.url("jf_app").set(drivername=f"postgresql+{driver}"))
        seal(engine)
        factory = async_sessionmaker(engine)
        bind_tenant(factory, KEY.tenant("a"))
        async with factory.begin() as session:
            await AsyncJobs(session).enqueue(ship, {"n": 1})
            assert await session.scalar(TENANT) == "a"
        async with AsyncSession(engine) as session:
            await AsyncJobs(session, tenant=KEY.tenant("b")).enqueue_many([ship.new({"n": 1})])
            await session.commit()
        await engine.dispose()

    asyncio.run(work())
    assert tenants(signed) == ["a", "b"]


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_whose_driver_shows_tokens_to_other_sessions_is_told(signed: Attack, driver: str) -> None:
    engine = sa.engine_from_config({"url": signed.url("jf_app").set(drivername=f"postgresql+{driver}")}, prefix="")
    seal(engine)
    with warnings.catch_warnings(record=True) as heard, Session(engine) as session:
        warnings.simplefilter("always")
        bind_tenant(session, KEY.tenant("a"))
        Jobs(session).list()
        shown = signed.look("select query from pg_stat_activity where strpos(query, 'tenant_token') > 0")
    engine.dispose()
    assert [type(one.message) for one in heard] == [TokensVisibleWarning] * (driver == "psycopg2")
    assert any(".a'" in row["query"] for row in shown) is (driver == "psycopg2")


# --- the key in a configuration ----------------------------------------------------------------------------


def test_a_key_is_one_word_and_its_secret_is_never_shown() -> None:
    assert TenantKey.parse(KEY.text()).secret == KEY.secret
    assert TenantKey.parse(f" {KEY.text()}\n").id == KEY.id
    secret = KEY.text().partition(":")[2]
    assert secret not in f"{KEY!r} {KEY} {KEY.tenant('a')!r}"


@pytest.mark.parametrize(
    "text",
    ["", "k1", "k1:", ":" + "A" * 43, "k 1:" + "A" * 43, "k1:" + "A" * 42, "k1:" + "é" * 43, "k1:" + "A" * 44 + "!"],
)
def test_what_is_no_key_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TenantKey.parse(text)
    assert text.partition(":")[2] == "" or text.partition(":")[2] not in str(caught.value)


def test_a_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with pytest.raises(ConfigurationError, match="jobforge tenancy"):
        TenantKey.from_environment()
    monkeypatch.setenv(KEY_VARIABLE, KEY.text())
    assert TenantKey.from_environment().secret == KEY.secret


def test_a_handlers_traceback_and_a_log_hold_no_token(signed: Attack) -> None:
    token = KEY.token("a").split(".")[2]
    program = (
        "import logging, sys; logging.basicConfig(level=logging.DEBUG)\n"
        "import sqlalchemy as sa; from jobforge_sa import Jobs, TenantKey, JobForge\n"
        "engine = sa.create_engine(sys.argv[1], hide_parameters=True, echo=True)\n"
        "with engine.begin() as c: Jobs(c, tenant=TenantKey.from_environment().tenant('a')).list()\n"
    )
    url = signed.url("jf_app").render_as_string(hide_password=False)
    environment = os.environ | {KEY_VARIABLE: KEY.text()}
    done = subprocess.run(
        [sys.executable, "-c", program, url], env=environment, capture_output=True, text=True, check=False
    )
    said: Any = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert KEY.text().partition(":")[2] not in said
    assert token not in said


# --- what an injection leaves on a pooled connection -------------------------------------------------------

PLANTED = (
    "create temp table loot (token varchar)",
    """create function pg_temp.spy(it pg_catalog.text) returns boolean language plpgsql as $$ begin
           insert into pg_temp.loot values (pg_catalog.current_setting('jobforge.tenant_token', true)); return true;
       end $$""",
    *(
        f"create domain pg_temp.{name} as pg_catalog.{name} check (pg_temp.spy(value::pg_catalog.text))"
        for name in ("text", "uuid", "json", "jsonb", "timestamptz", "int4", "bool", "varchar")
    ),
)


@pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")  # it would take away what is tried
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_types_that_an_injection_left_on_the_connection_see_no_other_tenants_token(signed: Attack, driver: str) -> None:
    """Temporary objects outlive their transaction, and the connection goes on to the next tenant's request."""
    engine = sa.engine_from_config(
        {"url": signed.url("jf_app").set(drivername=f"postgresql+{driver}"), "pool_size": "1", "max_overflow": "0"},
        prefix="",
    )
    with Session(engine) as session, session.begin():
        bind_tenant(session, KEY.tenant("mallory"))
        for statement in PLANTED:
            session.execute(sa.text(statement))
    with Session(engine) as session, session.begin():
        bind_tenant(session, KEY.tenant("bob"))
        jobs = Jobs(session)
        job = jobs.enqueue(ship, {"n": 1}, delay=dt.timedelta(hours=1), idempotency_key="k").id
        jobs.enqueue_many([ship.new({"n": 1})])
        jobs.reschedule(job, run_at=dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
        assert len(jobs.list(state="scheduled", since=dt.datetime(2020, 1, 1, tzinfo=dt.UTC)).jobs) == 1
        jobs.get(job)
        jobs.cancel(job)
        jobs.retry(job)
        assert session.scalar(sa.text("select count(*) from pg_temp.loot")) == 0
    engine.dispose()
