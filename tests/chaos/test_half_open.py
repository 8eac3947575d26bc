"""What storms have found, reduced to one story: handlers whose connections are open and dead."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.testing.server import ServerError
from jobforge_sa.worker import link
from tests.chaos.arena import Arena
from tests.support import wait_for


@pytest.fixture(params=["libpq as it is", "libpq before 17"])
def libpq(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 17 a cancel request has no timeout."""
    if request.param == "libpq before 17":
        monkeypatch.setattr(psycopg.capabilities, "has_cancel_safe", lambda: False)


@pytest.mark.usefixtures("libpq")
def test_fault_006_a_handler_left_behind_on_a_half_open_connection_gives_its_place_in_the_pool_back() -> None:
    forge, waits = JobForge(tenant="acme"), threading.Event()

    @forge.task(timeout=dt.timedelta(seconds=1), max_attempts=1)
    def stuck(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("select 1"))
        waits.set()
        ctx.session.execute(sa.text("select pg_sleep(0.5)"))

    @forge.task(max_attempts=1)
    def next_one(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("select 1"))

    with started() as arena:
        sessions = sa.create_engine(arena.url("jf_app", arena.workers_way), pool_size=1, max_overflow=0, pool_timeout=2)
        with Worker(arena.engine("jf_worker"), forge, session_engine=sessions, grace=dt.timedelta(0)):
            first = enqueue(arena, forge, "stuck")
            assert waits.wait(10)
            arena.workers_way.kill_silently()
            wait_for(lambda: state(arena, first) == "dead", 20, "the stuck one to be left behind")
            second = enqueue(arena, forge, "next_one")
            wait_for(lambda: state(arena, second) in ("succeeded", "dead"), 20, "the next one")
            ended = state(arena, second)
        sessions.dispose()
    assert ended == "succeeded"


@pytest.mark.usefixtures("libpq")
def test_fault_006_a_cancel_where_nobody_answers_ends_within_seconds() -> None:
    with started() as arena:
        sessions = sa.create_engine(arena.url("jf_app", arena.workers_way), poolclass=sa.NullPool)
        with sessions.connect() as connection:
            driver, began = connection.connection.driver_connection, time.monotonic()
            arena.workers_way.swallow()
            with pytest.raises((OSError, psycopg.Error)):
                link.cancel(driver)
            assert time.monotonic() - began < 2 * link.CANCEL_TIMEOUT
            link.cut(driver)  # else its rollback would wait
        sessions.dispose()


@contextmanager
def started() -> Iterator[Arena]:
    with ExitStack() as stack:
        try:
            arena = stack.enter_context(Arena(0, lose_commit=0.0))
        except ServerError as error:
            pytest.skip(f"needs a server of its own: {error}")
        yield arena


def enqueue(arena: Arena, forge: JobForge, name: str) -> str:
    with Session(arena.engine("jf_app")) as session, session.begin():
        return str(Jobs(session).enqueue(forge.tasks[name], {"n": 1}).id)


def state(arena: Arena, job: str) -> str | None:
    rows = arena.look("select state from jobforge.outcomes where job_id = %s", job)
    return rows[0]["state"] if rows else None
