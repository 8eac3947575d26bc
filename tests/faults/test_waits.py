"""Who waits for a result: over a server's restart, a wire that is dead, a pool that is empty; and never for long."""

from __future__ import annotations

import asyncio
import logging
import random
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from jobforge_sa import AsyncResults, Context, JobForge, Results, Worker
from jobforge_sa.errors import ResultTimeout
from jobforge_sa.results import aio
from tests.chaos.proxy import Proxy
from tests.faults.ground import QUICK, Ground, enqueue, own_ground, said
from tests.support import wait_for

forge = JobForge(tenant="a")
WAITS = "select from jobforge.waits"
KINDS = ["psycopg", "psycopg2", "async psycopg", "asyncpg"]  # one way of waiting for each driver
SLACK = 1.6  # seconds beyond a timeout: the one that a look is given, and what a busy machine takes


@forge.task()
def seven(ctx: Context, payload: dict[str, int]) -> int:
    return 7


@pytest.fixture(scope="module")
def shared() -> Iterator[Ground]:
    with own_ground(tcp=True) as ground:
        yield ground


@pytest.fixture
def ground(shared: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    monkeypatch.setattr("jobforge_sa.results.bell.LINGER", 0.0)
    yield shared
    shared.run("truncate jobforge.waits, jobforge.results")
    shared.clean()


def started(work: Callable[[], int]) -> Future[int]:
    """The work, in a thread that keeps nobody when a test fails."""
    future: Future[int] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


class Waits:
    """Waits of one kind, for one job after the other, through one engine."""

    def __init__(self, url: sa.URL, kind: str, **options: Any) -> None:
        self._url = url.set(drivername=f"postgresql+{kind.split()[-1]}")
        self._async, self._options = kind in ("async psycopg", "asyncpg"), options

    def start(self, job: uuid.UUID, timeout: float | None) -> Future[int]:
        """Wait for a job."""
        return started(lambda: asyncio.run(self._wait(job, timeout)) if self._async else self._sync(job, timeout))

    def _sync(self, job: uuid.UUID, timeout: float | None) -> int:
        engine = sa.create_engine(self._url, **self._options)
        try:
            return Results(engine).wait(seven, job, timeout=timeout)
        finally:
            engine.dispose()

    async def _wait(self, job: uuid.UUID, timeout: float | None) -> int:
        engine = create_async_engine(self._url, **self._options)
        try:
            return await AsyncResults(engine).wait(seven, job, timeout=timeout)
        finally:
            await engine.dispose()


def url_of(ground: Ground, port: int | None = None) -> sa.URL:
    if port is None:
        return sa.make_url(ground.server.url_for("postgres", "jf_app"))
    return sa.make_url(ground.server.tcp_url_for("postgres", "jf_app")).set(port=port)


@contextmanager
def away(ground: Ground, how: signal.Signals = signal.SIGINT) -> Iterator[None]:
    """The server is stopped, or with SIGQUIT crashes, and is back afterwards."""
    ground.server._end(how)
    try:
        yield
    finally:
        ground.server._launch()


@pytest.mark.parametrize("timeout", [60, None], ids=["timeout", "for ever"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_survives_a_restart_of_the_server(
    ground: Ground, kind: str, timeout: float | None, caplog: pytest.LogCaptureFixture
) -> None:
    job = enqueue(ground.engine("jf_app"), seven)
    with caplog.at_level(logging.WARNING, "jobforge_sa"):
        wait = Waits(url_of(ground), kind).start(job, timeout)
        wait_for(lambda: ground.look(WAITS), what="the wait")
        with away(ground, signal.SIGQUIT if kind == "psycopg" else signal.SIGINT):
            wait_for(lambda: wait.done() or timeout or any("no answer about" in line for line in said(caplog)), 20)
            time.sleep(1.2)  # the outage itself: a look comes each second
            assert not wait.done()
        with Worker(ground.engine("jf_one"), forge, **QUICK):
            assert wait.result(30) == 7
    assert sum("no answer about" in line for line in said(caplog)) == (timeout is None)


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_that_begins_while_the_server_is_away_ends_with_its_timeout_and_says_why(
    ground: Ground, kind: str
) -> None:
    job = enqueue(ground.engine("jf_app"), seven)
    with away(ground):
        began = time.monotonic()
        with pytest.raises(ResultTimeout, match="the database did not answer: ") as caught:
            Waits(url_of(ground), kind).start(job, 0.5).result(20)
        assert 0.5 <= time.monotonic() - began < 0.5 + SLACK
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_on_a_dead_wire_ends_with_its_timeout(ground: Ground, kind: str) -> None:
    """What is sent is gone, and nobody is told: no driver gives up by itself."""
    job = enqueue(ground.engine("jf_app"), seven)
    with Proxy(ground.server.port, random.Random(0)) as proxy:
        began = time.monotonic()
        wait = Waits(url_of(ground, proxy.port), kind).start(job, 1.5)
        wait_for(lambda: ground.look(WAITS), what="the wait")
        proxy.swallow()
        with pytest.raises(ResultTimeout, match="did not answer"):
            wait.result(20)
        assert 1.5 <= time.monotonic() - began < 1.5 + SLACK
        wait_for(lambda: not looks_left(), what="the thread that was left behind to end")


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_without_a_timeout_leaves_a_dead_wire_and_finds_the_end_over_another(
    ground: Ground, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobforge_sa.results.look.MOST", 0.5)
    monkeypatch.setattr("jobforge_sa.results.look.LEAST", 0.5)
    job = enqueue(ground.engine("jf_app"), seven)
    with Proxy(ground.server.port, random.Random(0)) as proxy:
        wait = Waits(url_of(ground, proxy.port), kind).start(job, None)
        wait_for(lambda: ground.look(WAITS), what="the wait")
        proxy.kill_silently()
        with Worker(ground.engine("jf_one"), forge, **QUICK):
            assert wait.result(20) == 7


def looks_left() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "jobforge-look"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_whose_look_is_blocked_ends_with_its_timeout_and_leaves_no_backend(ground: Ground, kind: str) -> None:
    """As behind a migration."""
    job = enqueue(ground.engine("jf_app"), seven)
    with ground.connect() as connection, connection.transaction():
        connection.execute("lock table jobforge.waits, jobforge.outcomes")
        began = time.monotonic()
        with pytest.raises(ResultTimeout):
            Waits(url_of(ground), kind).start(job, 0.5).result(20)
        assert 0.5 <= time.monotonic() - began < 0.5 + SLACK
        blocked = "select from pg_stat_activity where wait_event_type = 'Lock' and usename = 'jf_app'"
        wait_for(lambda: not ground.look(blocked), what="the backend to give up")


@pytest.mark.parametrize("login", [200, 0, 3_600_000])
def test_a_limit_of_the_logins_own_that_is_tighter_stays(ground: Ground, login: int) -> None:
    engine = ground.engine("jf_app", connect_args={"options": f"-c statement_timeout={login}"})
    limits, asked = list[int](), "select setting::int from pg_settings where name = 'statement_timeout'"

    @sa.event.listens_for(engine, "commit")
    def look(connection: sa.Connection) -> None:
        limits.append(connection.connection.cursor().execute(asked).fetchone()[0])

    job = enqueue(engine, seven)
    limits.clear()
    with pytest.raises(ResultTimeout):
        Results(engine).wait(seven, job, timeout=0)
    (limit,) = limits
    assert limit == login if login == 200 else 500 < limit <= 1000


@pytest.mark.parametrize("kind", KINDS)
def test_a_wait_that_gets_no_connection_of_the_pool_ends_with_its_timeout(ground: Ground, kind: str) -> None:
    """The pool itself would wait for half a minute."""
    job = enqueue(ground.engine("jf_app"), seven)
    url, options = url_of(ground).set(drivername=f"postgresql+{kind.split()[-1]}"), {"pool_size": 1, "max_overflow": 0}

    async def wait_in_loop() -> int:
        engine = create_async_engine(url, **options)
        try:
            async with engine.connect():
                return await AsyncResults(engine).wait(seven, job, timeout=0.5)
        finally:
            async with asyncio.timeout(10):
                while aio._left:  # what was left behind ends as soon as it has got the connection
                    await asyncio.sleep(0.01)
            await engine.dispose()

    def wait() -> int:
        engine = sa.create_engine(url, **options)
        try:
            with engine.connect():
                return Results(engine).wait(seven, job, timeout=0.5)
        finally:
            wait_for(lambda: not looks_left(), what="the thread that was left behind to end")
            engine.dispose()

    began = time.monotonic()
    with pytest.raises(ResultTimeout, match="pool has a connection left"):
        started(wait if kind in ("psycopg", "psycopg2") else lambda: asyncio.run(wait_in_loop())).result(20)
    assert 0.5 <= time.monotonic() - began < 0.5 + SLACK


def test_what_is_wrong_for_good_is_told_at_once(ground: Ground) -> None:
    with ground.connect() as connection:
        connection.execute("revoke execute on function jobforge.await_job from jobforge_app")
        job = enqueue(ground.engine("jf_app"), seven)
        try:
            with pytest.raises(PermissionError, match="await_job"):
                Results(ground.engine("jf_app")).wait(seven, job)
        finally:
            connection.execute("grant execute on function jobforge.await_job to jobforge_app")
