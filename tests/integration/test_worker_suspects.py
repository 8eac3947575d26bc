"""A suspect runs alone in a worker, and neither it nor the others wait for ever."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.db import calls
from jobforge_sa.worker import cycle
from jobforge_sa.worker.claimer import Claimer
from jobforge_sa.worker.link import LinkDown
from tests.fix_postgres import Database
from tests.support import wait_for

POLL = dt.timedelta(milliseconds=20)


class Scene:
    """Handlers that say when they begin, and go on when they may."""

    def __init__(self, database: Database) -> None:
        self.engine = database.engine("jf_one")
        self.admin = database.engine()
        self.forge = JobForge(tenant="a")
        self.running: list[str] = []
        self.beside: list[list[str]] = []  # what ran when another began
        self.may_end = {name: threading.Event() for name in ("suspect", "normal")}
        for name, may_end in self.may_end.items():
            self.forge.task(name)(self._handler(name, may_end))

    def _handler(self, name: str, may_end: threading.Event) -> Callable[[Context, dict[str, int]], None]:
        def handler(ctx: Context, payload: dict[str, int]) -> None:
            self.beside.append([name, *self.running])
            self.running.append(name)
            assert may_end.wait(20)
            self.running.remove(name)

        return handler

    def enqueue(self, name: str, count: int = 1) -> None:
        task = self.forge.tasks[name]
        with Session(self.engine) as session, session.begin():
            Jobs(session).enqueue_many([task.new({}) for _ in range(count)])

    def suspect(self, count: int = 1, crashes: int = 2) -> None:
        """Enqueue jobs that have lost so many workers; before that no worker sees them."""
        task = self.forge.tasks["suspect"]
        with Session(self.engine) as session, session.begin():
            Jobs(session).enqueue_many([task.new({}, delay=dt.timedelta(hours=1)) for _ in range(count)])
        with self.admin.begin() as c:
            c.execute(sa.text("update jobforge.scheduled set crashes = :n, run_at = now()"), {"n": crashes})
            c.execute(sa.text("select jobforge.upkeep()"))  # a worker without room claims and promotes nothing

    def waiting(self) -> int:
        with self.admin.connect() as c:
            return int(c.execute(sa.text("select count(*) from jobforge.ready")).scalar_one())

    def states(self) -> dict[str, int]:
        with self.admin.connect() as c:
            states = "select state, count(*) from jobforge.outcomes group by state"
            return {str(state): int(count) for state, count in c.execute(sa.text(states))}

    def worker(self, **options: object) -> Worker:
        return Worker(self.engine, self.forge, poll=POLL, **options)  # type: ignore[arg-type]


@pytest.fixture
def scene(database: Database) -> Scene:
    return Scene(database)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Busy workers look for suspects each half of a second."""
    monkeypatch.setattr(cycle.Lookout.postpone, "__defaults__", (0.5,))


def test_an_idle_worker_takes_a_suspect_and_nothing_else_until_it_has_ended(scene: Scene) -> None:
    scene.suspect()
    with scene.worker() as worker:
        wait_for(lambda: scene.running == ["suspect"], what="the suspect to run")
        scene.may_end["normal"].set()
        scene.enqueue("normal", 20)
        again = Worker(scene.engine, scene.forge, poll=POLL)  # the others are another worker's meanwhile
        with again:
            wait_for(lambda: scene.states() == {"succeeded": 20}, what="another worker to run the others")
        assert scene.running == ["suspect"]
        scene.enqueue("normal", 5)
        assert not worker.drain(0.3)
        assert (scene.waiting(), worker.outcomes) == (5, {})
        scene.may_end["suspect"].set()
        assert worker.drain(10)
    assert worker.outcomes == {"succeeded": 6}


def test_a_drain_does_not_leave_suspects_behind(scene: Scene) -> None:
    for event in scene.may_end.values():
        event.set()
    scene.suspect(7)
    scene.enqueue("normal", 7)
    with scene.worker() as worker:
        assert worker.drain(20)
    assert scene.states() == {"succeeded": 14}
    assert [beside for beside in scene.beside if beside[0] == "suspect"] == [["suspect"]] * 7


@pytest.mark.usefixtures("at_once")
def test_a_busy_worker_gives_back_what_it_has_not_started_and_becomes_empty_for_a_suspect(scene: Scene) -> None:
    scene.enqueue("normal", 2)
    with scene.worker(concurrency=2) as worker:
        wait_for(lambda: scene.running == ["normal"] * 2, what="the slots to be full")
        scene.suspect()
        wait_for(lambda: worker._claimer._lookout.until is not None, what="the worker to make way")
        scene.enqueue("normal", 5)
        scene.may_end["normal"].set()
        wait_for(lambda: scene.running == ["suspect"], what="the suspect to run")
        assert scene.beside[-1] == ["suspect"]
        assert scene.waiting() == 5
        scene.may_end["suspect"].set()
        assert worker.drain(10)
    assert scene.states() == {"succeeded": 8}


@pytest.mark.usefixtures("at_once")
def test_a_worker_whose_runs_do_not_end_goes_on_claiming(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cycle, "MAKE_WAY", 0.0)
    long = threading.Event()
    begun: list[int] = []

    @scene.forge.task()
    def stubborn(ctx: Context, payload: dict[str, int]) -> None:
        begun.append(1)
        assert long.wait(20)

    scene.enqueue("stubborn")
    scene.may_end["normal"].set()
    scene.may_end["suspect"].set()
    with scene.worker(concurrency=4) as worker:
        wait_for(lambda: begun, what="a run that does not end")
        scene.suspect()
        wait_for(lambda: worker._claimer._lookout.busy_at > 100 + worker._claimer._paced, what="the worker to give up")
        scene.enqueue("normal", 3)
        wait_for(lambda: scene.states() == {"succeeded": 3}, what="the others to run")
        assert scene.waiting() == 1
        long.set()
        assert worker.drain(10)
    assert scene.states() == {"succeeded": 5}


def test_a_suspect_that_is_stopped_with_its_worker_stays_one(scene: Scene) -> None:
    scene.suspect(crashes=4)
    with scene.worker() as worker:
        wait_for(lambda: scene.running == ["suspect"], what="the suspect to run")
        threading.Timer(0.2, scene.may_end["suspect"].set).start()
        assert worker.stop(10)
    assert scene.states() == {"succeeded": 1}


def test_a_suspect_whose_claim_was_never_heard_of_is_given_back_by_stop_without_a_crash(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = Claimer._fetch

    def unheard(connection: Any, claim: Any, values: Any) -> Any:
        jobs = fetch(connection, claim, values)
        if claim == calls.CLAIM_SUSPECT and jobs:
            raise LinkDown("the answer got lost")
        return jobs

    monkeypatch.setattr(Claimer, "_fetch", staticmethod(unheard))
    scene.suspect(crashes=4)  # one more, and it is dead
    worker = scene.worker(lease=dt.timedelta(seconds=30)).start()
    leases = sa.text("select count(*) from jobforge.leases")
    with scene.admin.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        wait_for(lambda: c.scalar(leases), what="the claim")
        worker.stop(0)
        assert c.scalar(leases) == 0
        assert c.scalar(sa.text("select crashes from jobforge.ready")) == 4
