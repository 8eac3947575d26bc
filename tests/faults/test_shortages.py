"""A server without connections or disk to spare, a pool without places: work waits, and goes on when there is room."""

from __future__ import annotations

import datetime as dt
import logging
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.db import migrate
from jobforge_sa.testing._process import identity, nobody
from tests.faults.ground import QUICK, RUNS, STATES, Ground, enqueue, own_ground, said
from tests.support import wait_for

LEASE = dt.timedelta(seconds=2)
MINE = "select count(*) from pg_stat_activity where usename = 'jf_worker'"


@pytest.fixture(scope="module")
def shared() -> Iterator[Ground]:
    with own_ground(settings={"max_connections": "20"}) as ground:
        yield ground


@pytest.fixture
def ground(shared: Ground) -> Iterator[Ground]:
    yield shared
    shared.clean()


def noting() -> JobForge:
    forge = JobForge(tenant="a")

    @forge.task()
    def note(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("insert into effects values (:n)"), payload)

    return forge


@contextmanager
def no_connection_left(ground: Ground) -> Iterator[int]:
    """Take all that a login without privileges can have."""
    taken: list[psycopg.Connection[dict[str, object]]] = []
    try:
        while True:
            try:
                taken.append(ground.connect("jf_app"))
            except psycopg.OperationalError as error:
                if not re.search("remaining connection slots|too many clients", str(error)):
                    raise
                break
        yield len(taken)
    finally:
        for connection in taken:
            connection.close()


def test_fault_031_without_a_connection_to_spare_leases_are_kept_and_nothing_is_lost(ground: Ground) -> None:
    forge, app, running, gate = noting(), ground.engine("jf_app"), threading.Event(), threading.Event()

    @forge.task()
    def long(ctx: Context, payload: dict[str, int]) -> None:
        running.set()
        assert gate.wait(30)

    @forge.task()
    def plain(ctx: Context, payload: dict[str, int]) -> None: ...

    first = enqueue(app, plain)
    with Worker(ground.engine("jf_worker"), forge, session_engine=app, lease=LEASE, **QUICK) as worker:
        wait_for(lambda: ground.ended(first), what="the reporter's connection to be used")
        jobs = [enqueue(app, long)]
        assert running.wait(10)
        wait_for(lambda: ground.look(MINE)[0]["count"] == 5, what="all of the worker's own connections")
        jobs += [enqueue(app, forge.tasks["note"], n, delay=dt.timedelta(seconds=0.5)) for n in range(3)]
        with no_connection_left(ground):
            with pytest.raises(sa.exc.OperationalError) as refused, Session(app) as session:
                Jobs(session).enqueue(long, {"n": 1})
            assert refused.value.orig is not None
            wait_for(lambda: worker.outcomes["failed"] >= 3, 10, "handlers to fail for want of a connection")
            began = worker._heartbeat._last
            wait_for(lambda: worker._heartbeat._last > began + LEASE.total_seconds(), 10, "heartbeats for a lease")
            assert worker._heartbeat.steady()
        gate.set()
        wait_for(lambda: all(ground.ended(job) for job in jobs), 20, "all to end")
    assert ground.counts(STATES) == {"succeeded": 5}
    assert "lost" not in ground.counts(RUNS)


def test_fault_031_032_a_pool_whose_places_handlers_hold_keeps_the_worker_from_nothing(ground: Ground) -> None:
    """Its own connections are outside the pool, also when they have to be opened again."""
    engine = ground.engine("jf_one", poolclass=sa.QueuePool, pool_size=1, max_overflow=0, pool_timeout=60)
    forge, running, gate = noting(), threading.Event(), threading.Event()

    @forge.task()
    def holds(ctx: Context, payload: dict[str, int]) -> None:
        ctx.session.execute(sa.text("select set_config('application_name', 'holder', false)"))
        running.set()
        assert gate.wait(30)

    @forge.task()
    def plain(ctx: Context, payload: dict[str, int]) -> None: ...

    app = ground.engine("jf_app")
    with Worker(engine, forge, lease=LEASE, **QUICK) as worker:
        held = enqueue(app, holds)
        assert running.wait(10)
        ground.run(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where usename = 'jf_one' and application_name <> 'holder'"
        )
        other = enqueue(app, plain)
        wait_for(lambda: ground.ended(other), 10, "a job that needs no session")
        began = worker._heartbeat._last
        wait_for(lambda: worker._heartbeat._last > began, 10, "a heartbeat")
        gate.set()
        wait_for(lambda: ground.ended(held), 10, "the holder")
    assert ground.counts(RUNS) == {"succeeded": 2}


def test_fault_032_handlers_that_share_one_connection_take_turns_and_do_not_deadlock(ground: Ground) -> None:
    engine = ground.engine("jf_one", poolclass=sa.QueuePool, pool_size=1, max_overflow=0)
    forge = noting()
    with Worker(engine, forge, concurrency=8, lease=LEASE, **QUICK) as worker:
        for n in range(30):
            enqueue(ground.engine("jf_app"), forge.tasks["note"], n)
        wait_for(lambda: worker.outcomes["succeeded"] == 30, 20, "all to succeed")
    assert ground.counts(RUNS) == {"succeeded": 30}


# --- a full disk ---------------------------------------------------------------------------------------------


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of so many megabytes; only root can mount one."""
    folder = Path(tempfile.mkdtemp(prefix="jobforge-disk-", dir="/tmp"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.skipif(shutil.which("mount") is None, reason="no mount on this machine")
def test_fault_029_a_full_disk_refuses_enqueues_and_when_there_is_room_all_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with small_disk(64) as disk, own_ground() as ground:
        place = disk / "tables"
        place.mkdir()
        if identity() == "nobody":
            os.chown(place, *nobody())
        ground.run(f"create tablespace small location '{place}'", "create database small tablespace small")
        with caplog.at_level(logging.INFO, "jobforge_sa"):
            _fill(ground, disk / "ballast")
    assert len([line for line in said(caplog) if "trying again" in line]) <= 2, said(caplog)


def _repeat(work: Callable[[], None]) -> None:
    for _ in range(1000):
        work()


def _fill(ground: Ground, ballast: Path) -> None:
    def engine(login: str) -> sa.Engine:
        return sa.create_engine(ground.server.url_for("small", login), poolclass=sa.NullPool)

    migrate.upgrade(engine("postgres"))
    forge, gate, running = JobForge(tenant="a"), threading.Event(), threading.Event()

    @forge.task()
    def gated(ctx: Context, payload: dict[str, object]) -> str:
        running.set()
        gate.wait(30)
        return "x" * 20_000  # what ends has to be written too

    app, stored = engine("jf_app"), list[uuid.UUID]()

    def add() -> None:
        with Session(app) as session, session.begin():
            job = Jobs(session).enqueue(gated, {"filler": os.urandom(20_000).hex()}).id
        stored.append(job)

    with Worker(engine("jf_worker"), forge, lease=LEASE, concurrency=3, **QUICK) as worker:
        add()
        assert running.wait(10)
        room = os.statvfs(ballast.parent)
        ballast.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - 2_000_000))
        with pytest.raises(sa.exc.OperationalError) as refused:
            _repeat(add)
        assert isinstance(refused.value.orig, psycopg.errors.DiskFull)
        gate.set()
        wait_for(lambda: worker._reporter.outage._down, 10, "the worker to be in trouble")
        ballast.unlink()
        wait_for(lambda: worker.outcomes["succeeded"] == len(stored), 30, "all that was stored to succeed")
    with engine("postgres").connect() as connection:
        assert set(connection.scalars(sa.text("select id from jobforge.jobs"))) == set(stored)
        assert connection.scalars(sa.text("select crashes from jobforge.outcomes where crashes > 0")).all() == []
        assert connection.execute(sa.text("select * from jobforge.audit()")).all() == []


@pytest.mark.faults
def test_fault_030_a_server_that_panics_because_its_log_has_no_room_comes_back_with_every_job() -> None:
    forge = JobForge(tenant="a")

    @forge.task()
    def plain(ctx: Context, payload: dict[str, object]) -> None: ...

    with small_disk(56) as disk, own_ground(settings={"max_wal_size": "32MB", "min_wal_size": "32MB"}) as ground:
        ballast, stored = disk / "ballast", list[uuid.UUID]()
        _move_log(ground, disk)
        with Worker(ground.engine("jf_worker"), forge, lease=LEASE, **QUICK) as worker:
            ballast.write_bytes(b"\0" * (os.statvfs(disk).f_bavail * 4096 - 100_000))
            app = ground.engine("jf_app")

            def add() -> None:
                with Session(app) as session, session.begin():
                    job = Jobs(session).enqueue(plain, {"filler": os.urandom(100_000).hex()}).id
                stored.append(job)

            with pytest.raises(sa.exc.OperationalError):
                _repeat(add)
            wait_for(lambda: ground.server._process and ground.server._process.poll() is not None, 30, "the panic")
            ballast.unlink()
            ground.server._launch()
            wait_for(lambda: worker.outcomes["succeeded"] >= len(stored), 30, "all that was stored to succeed")
        assert {row["id"] for row in ground.look("select id from jobforge.jobs")} >= set(stored)
        assert ground.look("select * from jobforge.audit()") == []


def _move_log(ground: Ground, disk: Path) -> None:
    """The write-ahead log, and it alone, to another disk."""
    log = ground.server.directory / "data" / "pg_wal"
    ground.server._end(signal.SIGINT)
    subprocess.run(["cp", "-a", log, disk / "log"], check=True)
    shutil.rmtree(log)
    log.symlink_to(disk / "log")
    ground.server._launch()
