"""The machine: hypothesis chooses who does what next, the database does it, the model says what must have come of it.

One thread, so that a failure can be repeated; transactions overlap because they stay open. Where a call has to wait for
another's transaction it is made in a second thread, and that transaction ends while it stands there.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import pytest
from hypothesis import event, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from psycopg.types.json import Json

from tests.properties.database import BEGINNING, TENANTS, Place, Real
from tests.properties.model import (
    ALIVE,
    CRASHES_TO_DEATH,
    ENDED,
    FAILURES,
    KEPT,
    SECOND,
    WAITING,
    Item,
    Job,
    Keep,
    Key,
    Model,
    Work,
)
from tests.support import Row

QUEUES = ("mail", "sums")
WORKERS = (uuid.UUID(int=1), uuid.UUID(int=2))
OUTCOMES = ("succeeded", "failed", "timed_out", "snoozed", "released", "canceled")
TICK = dt.timedelta(milliseconds=1)  # each step has its own moment, and each job its place in the order of age

options = st.fixed_dictionaries(
    {
        "queue": st.sampled_from(QUEUES),
        "priority": st.sampled_from([0, 0, -1, 7]),
        "max_attempts": st.sampled_from([1, 2, 3]),
        "timeout": st.sampled_from([None, None, 10]),
        "delay": st.sampled_from([None] * 6 + [1, 40]),
        "key": st.sampled_from([None] * 6 + ["k1", "k2"]),
        "payload": st.sampled_from([0, 0, 1]),
    }
)
BARE = {"queue": QUEUES[0], "priority": 0, "max_attempts": 1, "timeout": None, "delay": None, "key": None, "payload": 0}
AT_ONCE: Keep = dict.fromkeys(KEPT, dt.timedelta(0))
uniques = st.sampled_from([None] * 3 + ["u"])
spans = st.sampled_from([dt.timedelta(0), dt.timedelta(0), 20 * SECOND, 3600 * SECOND, None])
RARELY = [False] * 7 + [True]
rarely = st.sampled_from(RARELY)
OFTEN = [True] * 3 + [False]
often = st.sampled_from(OFTEN)

Function = Callable[..., None]
T = TypeVar("T")
ACTIONS: dict[str, Action] = {}


@dataclass(frozen=True, slots=True)
class Action:
    """Something that may happen next."""

    weight: int
    possible: Callable[[Machine], object]
    given: dict[str, st.SearchStrategy[Any]]
    function: Function


def action(
    weight: int, possible: Callable[[Machine], object] = bool, /, **given: st.SearchStrategy[Any]
) -> Callable[[Function], Function]:
    """Let this happen, with these chances among all that is possible.

    A rule of hypothesis for each would do, but it switches half of them off in each example, and what needs a claim, a
    transaction and a cancel to meet was never reached.
    """

    def decorate(function: Function) -> Function:
        ACTIONS[function.__name__] = Action(weight, possible, given, function)
        return function

    return decorate


class Machine(RuleBasedStateMachine):
    """All that can happen to jobs. `real` is set by who runs it, on a class of its own."""

    real: Real
    reached: Counter[str]

    def __init__(self) -> None:
        super().__init__()
        self.real.clean()
        self.model = Model(BEGINNING, self._reach)
        self.runs: list[tuple[uuid.UUID, Row]] = []  # worker and row of each claim whose answer arrived
        self.told: list[Item] = []  # completions that were sent
        self.snapshot: dict[uuid.UUID, str] = {}  # what the reader saw at first
        self.sound = True
        self.counting = True

    def _reach(self, name: str) -> None:
        if self.counting:
            self.reached[name] += 1
            event(name)

    # -- calls -------------------------------------------------------------------------------------

    @contextmanager
    def at(self, place: Place) -> Iterator[Work]:
        """What a call at this place changes: of the open transaction, or of one that ends with the call."""
        if place.work is not None:
            yield place.work
        else:
            with self.model.at_once() as work:
                yield work

    def act(
        self, place: Place, work: Work, function: str, keys: Callable[[], list[Key]], commits: bool, **arguments: Any
    ) -> list[Row]:
        """Call; where others have one of these keys under way, end them while the call waits for them."""

        def ask() -> list[Row]:
            return place.call(function, **arguments)

        waited = self.model.others(work, *keys())
        if not waited:
            return ask()
        note(f"{function} waits at {place}")
        future = self.real.waits(place, ask)
        while waited:
            for other in self.real.transactions:
                if other.work in waited:
                    other.end(self.model, commits)
            waited = self.model.others(work, *keys())
        self._reach(f"waited: {function}, {'committed' if commits else 'rolled back'}")
        rows: list[Row] = future.result(30)
        return rows

    def refused(self, place: Place, ask: Callable[[], list[Row]], own: Callable[[], T]) -> tuple[list[Row] | None, T]:
        """The answer, or None for JF008, and what was before it; JF008 undoes what is open up to its last savepoint."""
        try:
            rows: list[Row] | None = ask()
        except psycopg.Error as error:
            if error.sqlstate != "JF008":
                raise
            rows = None
        job = own()
        if rows is None and place.work is not None:
            place.undo(self.model)
        return rows, job

    @initialize(stocked=often)
    def stock(self, stocked: bool) -> None:
        """Jobs to begin with, and runs, for most examples are too short to come so far by themselves."""
        self._reach("rule: stock")
        for n, place in enumerate([*self.real.tenants.values()] * 3 if stocked else []):
            self._enqueue(place, BARE | {"queue": QUEUES[n % 2], "max_attempts": 1 + n % 3}, commits=True)
            self.move(TICK)
        if stocked:
            self._claim(self.real.worker, WORKERS[0], limit=3)
            self._claim(self.real.worker, WORKERS[1], limit=2)

    @rule(data=st.data())
    def step(self, data: st.DataObject) -> None:
        self._draw = data.draw
        self.sound = False
        name = self.draw(
            [name for name, one in ACTIONS.items() if one.possible(self) for _ in range(one.weight)], "next"
        )
        self._reach(f"rule: {name}")
        given = ACTIONS[name].given
        ACTIONS[name].function(self, **{word: data.draw(strategy, label=word) for word, strategy in given.items()})
        self.sound = True

    def draw(self, choices: Sequence[T], label: str) -> T:
        drawn: T = self._draw(st.sampled_from(choices), label=label)
        return drawn

    # -- choices -----------------------------------------------------------------------------------

    def applications(self) -> list[Place]:
        opened = [place for place in self.real.handlers if place.work]
        return [*self.real.tenants.values(), *opened, *opened, *self.real.admins.values()]

    def workers(self) -> list[Place]:
        return [self.real.worker, *(place for place in self.real.engines if place.work)]

    def opened(self) -> list[Place]:
        return [place for place in self.real.transactions if place.work]

    def holders(self) -> list[Place]:
        return [place for place in self.opened() if place is not self.real.pruner]  # administrators may not

    def closed(self, places: Sequence[Place]) -> list[Place]:
        return [place for place in places if not place.work]

    def seen(self, place: Place) -> list[Job]:
        return self.model.jobs(place.work or Work())

    def running(self) -> list[Job]:
        return [job for job in self.model.jobs(Work()) if job.lease]

    def pick(self, place: Place, jobs: Sequence[Job], wanted: Callable[[Job], bool]) -> Job | None:
        """One of them, as a rule one that is wanted, and often one that another transaction has in its hands."""
        best = [job for job in jobs if wanted(job)]
        work = place.work or Work()
        contested = [job for job in best if not self.model.free(work, job)]
        collides: bool = bool(contested) and self.draw(OFTEN, "contested")
        if collides:
            best = contested
        elif not best or self.draw(RARELY, "any"):
            best = list(jobs)
        return best[self.draw(range(len(best)), "job")] if best else None

    # -- transactions ------------------------------------------------------------------------------

    @action(2, lambda self: self.closed(self.real.handlers), tenant=st.sampled_from(TENANTS))
    def open_handler(self, tenant: str) -> None:
        self.closed(self.real.handlers)[0].begin(tenant, self.model)

    @action(1, lambda self: self.closed(self.real.engines))
    def open_engine(self) -> None:
        self.closed(self.real.engines)[0].begin(None, self.model)

    @action(1, lambda self: any(place.marks < 2 for place in self.opened()))
    def savepoint(self) -> None:
        self.draw([place for place in self.opened() if place.marks < 2], "at").savepoint()

    @action(4, lambda self: any(place.marks for place in self.opened()), undone=st.booleans())
    def end_savepoint(self, undone: bool) -> None:
        place = self.draw([place for place in self.opened() if place.marks], "at")
        if undone:
            place.undo(self.model)
        else:
            place.release()
        self._reach(f"savepoint: {'rolled back' if undone else 'released'}")

    @action(3, lambda self: self.opened(), commits=st.booleans())
    def end_transaction(self, commits: bool) -> None:
        place = self.draw(self.opened(), "at")
        if place.work and place.work.changes:
            self._reach(f"transaction: {'committed' if commits else 'rolled back'}")
        place.end(self.model, commits)

    # -- enqueue -----------------------------------------------------------------------------------

    def _new(self, place: Place, option: dict[str, Any], job_id: uuid.UUID, unique: str | None = None) -> Job:
        delay, timeout = option["delay"] or 0, option["timeout"]
        return Job(
            job_id, str(place.tenant), option["queue"], option["priority"], option["max_attempts"],
            None if timeout is None else timeout * SECOND, self.model.now, self.model.now + delay * SECOND,
            payload=option["payload"], unique=unique,
        )  # fmt: skip

    @action(2, option=options, unique=uniques, commits=st.booleans())
    def enqueue(self, option: dict[str, Any], unique: str | None, commits: bool) -> None:
        place = self.draw(self.applications(), "at")
        self._enqueue(place, option if unique is None else option | {"key": None}, commits, unique)

    def _enqueue(self, place: Place, option: dict[str, Any], commits: bool, unique: str | None = None) -> None:
        key = option["key"]
        given = option | {name: option[name] and option[name] * SECOND for name in ("delay", "timeout")}
        given |= {"type": "t", "idempotency_key": key, "unique_key": unique, "payload": Json({"n": option["payload"]})}
        del given["key"]
        function = "enqueue_job"
        if place in self.real.admins.values():
            function, given["tenant_id"] = "enqueue_job_for", place.tenant
        keys: list[Key] = [("key", place.tenant, key), ("unique", place.tenant, unique)]
        with self.at(place) as work:
            (row,) = self.act(place, work, function, lambda: keys, commits, **given)
            said = self.model.enqueue(work, self._new(place, option, row["id"], unique), key)
        answer = (row["id"], row["created"], row["payload_differs"])
        assert answer == said, f"{answer} instead of {said}"

    @action(1, many=st.lists(options, min_size=1, max_size=4), commits=st.booleans())
    def enqueue_many(self, many: list[dict[str, Any]], commits: bool) -> None:
        place = self.draw(self.applications(), "at")
        jobs = [
            {"type": "t", "idempotency_key": option["key"], "payload": {"n": option["payload"]}}
            | {name: option[name] for name in ("queue", "priority", "max_attempts")}
            | {name: option[name] and f"{option[name]} seconds" for name in ("delay", "timeout")}
            for option in many
        ]
        keys: list[Key] = [("key", place.tenant, option["key"]) for option in many]
        with self.at(place) as work:
            rows = self.act(place, work, "enqueue_jobs", lambda: keys, commits, jobs=Json(jobs))
            new = [self._new(place, option, row["id"]) for option, row in zip(many, rows, strict=True)]
            said = [self.model.enqueue(work, job, option["key"]) for job, option in zip(new, many, strict=True)]
        assert [(row["id"], row["created"], row["payload_differs"]) for row in rows] == said

    # -- claim -------------------------------------------------------------------------------------

    @action(
        4,
        worker=st.sampled_from(WORKERS),
        queues=st.sampled_from([("mail", "sums"), ("mail", "sums"), ("sums", "mail"), ("mail",), ("sums",)]),
        limit=st.sampled_from([1, 2, 3, 5, 20]),
        cursor=st.sampled_from(["", *TENANTS]),
        arrives=often,
        commits=st.booleans(),
    )
    def claim(
        self,
        worker: uuid.UUID,
        queues: tuple[str, ...],
        limit: int,
        cursor: str,
        arrives: bool,
        commits: bool,
    ) -> None:
        place = self.draw(self.workers(), "at")
        self._claim(place, worker, queues, limit, cursor, arrives=arrives, commits=commits)

    def _claim(
        self,
        place: Place,
        worker: uuid.UUID,
        queues: Sequence[str] = QUEUES,
        limit: int = 100,
        cursor: str = "",
        *,
        arrives: bool = True,
        commits: bool = True,
    ) -> list[Row]:
        with self.at(place) as work:
            writes = self.model.keeps_alive(work, worker)
            rows = self.act(
                place, work, "claim_jobs", lambda: [("worker", worker)] if writes else [], commits, worker_id=worker,
                queues=list(queues), types=["t"], limit=limit, cursors=[cursor] * len(queues),
            )  # fmt: skip
            self.model.claim(work, worker, writes, queues, limit, rows)
        if arrives:
            self.runs += [(worker, row) for row in rows]
        elif rows:
            self._reach("claim: its answer is lost")
        return rows

    @action(
        2,
        worker=st.sampled_from(WORKERS),
        queues=st.sampled_from([("mail", "sums"), ("sums", "mail"), ("sums",)]),
        arrives=often,
        commits=st.booleans(),
    )
    def claim_suspect(self, worker: uuid.UUID, queues: tuple[str, ...], arrives: bool, commits: bool) -> None:
        self._claim_suspect(self.draw(self.workers(), "at"), worker, queues, arrives=arrives, commits=commits)

    def _claim_suspect(
        self,
        place: Place,
        worker: uuid.UUID,
        queues: Sequence[str] = QUEUES,
        *,
        arrives: bool = True,
        commits: bool = True,
    ) -> list[Row]:
        with self.at(place) as work:
            writes = self.model.keeps_alive(work, worker)
            rows = self.act(
                place, work, "claim_suspect", lambda: [("worker", worker)] if writes else [], commits,
                worker_id=worker, queues=list(queues), types=["t"],
            )  # fmt: skip
            self.model.claim_suspect(work, worker, writes, queues, rows)
        if arrives:
            self.runs += [(worker, row) for row in rows]
        return rows

    # -- the end of a run --------------------------------------------------------------------------

    def _complete(self, place: Place, items: list[Item], commits: bool) -> list[str]:
        tenant = place.tenant
        results = [
            {"job_id": str(item.job), "lease_token": str(item.token), "outcome": item.outcome, "final": item.final}
            | ({} if item.delay is None else {"delay": item.delay})
            | ({} if item.result is None else {"result": item.result})
            for item in items
        ]
        with self.at(place) as work:

            def keys() -> list[Key]:
                ending = [job.id for item in items if (job := self.model.ends(work, item, tenant))]
                return [(kind, job_id) for job_id in ending for kind in ("job", "hold")]

            rows = self.act(place, work, "complete_jobs", keys, commits, results=Json(results))
            said = self.model.complete(work, items, tenant)
        self.told += items
        answers = {row["item"]: str(row["answer"]) for row in rows}
        assert len(answers) == len(rows)
        assert [answers.get(n) for n in range(1, len(items) + 1)] == said
        return said

    @action(
        5,
        lambda self: self.running(),
        outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=3),
        final=rarely,
        delay=st.sampled_from([None, None, 0, 20]),
        result=st.sampled_from([None, 5]),
        commits=st.booleans(),
    )
    def complete(self, outcomes: list[str], final: bool, delay: int | None, result: int | None, commits: bool) -> None:
        place = self.draw([*self.workers(), *self.workers(), *self.applications()], "at")
        if place in self.real.admins.values():
            place = self.real.worker  # administrators may not
        running = [job for job in self.seen(place) if job.lease]
        items = []
        for outcome in outcomes:
            if job := self.pick(place, running, lambda job: place.tenant in (None, job.tenant)):
                assert job.lease is not None
                if place.tenant not in (None, job.tenant):
                    self._reach("token: of another tenant's job")
                items.append(Item(job.id, job.lease.token, outcome, final and outcome in FAILURES, delay, result))
        if items:
            self._complete(place, items, commits)

    @action(
        2,
        lambda self: self.runs,
        outcome=st.sampled_from(OUTCOMES),
        fault=st.sampled_from(["old", "old", "foreign", "invented"]),
        commits=st.booleans(),
    )
    def complete_with_a_bad_token(self, outcome: str, fault: str, commits: bool) -> None:
        """What a zombie still holds; another job's token; one that nobody was given."""
        place = self.draw([*self.workers(), *self.real.tenants.values()], "at")
        leases = {job.id: job.lease.token for job in self.running() if job.lease}
        zombies = [
            one for one in self.runs if leases.get(one[1]["job_id"], one[1]["lease_token"]) != one[1]["lease_token"]
        ]
        worker, run = self.draw(zombies if zombies and fault == "old" else self.runs, "run")
        token = run["lease_token"] if fault != "invented" else uuid.UUID(int=worker.int + 1000)
        job_id = run["job_id"]
        if fault == "foreign":
            job_id = self.draw(self.runs, "run")[1]["job_id"]
        self._complete(place, [Item(job_id, token, outcome)], commits)
        self._reach(f"token: {fault}")

    @action(2, lambda self: self.told, commits=st.booleans())
    def complete_again(self, commits: bool) -> None:
        """The answer was lost on the wire; or the transaction of the first was rolled back."""
        place = self.draw([*self.workers(), *self.real.tenants.values()], "at")
        first = self.draw(range(len(self.told)), "first")
        self._complete(place, self.told[first : first + 2], commits)

    @action(
        3,
        lambda self: self.running(),
        outcome=st.sampled_from(["succeeded", "succeeded", "failed"]),
        commits=st.booleans(),
    )
    def handle(self, outcome: str, commits: bool) -> None:
        """A handler's own transaction: its writes, and its completion, which may stay uncommitted."""
        place = self.draw(self.real.handlers, "at")
        if job := self.pick(place, self.running(), lambda job: place.work is None or job.tenant == place.tenant):
            if place.work is None:
                place.begin(job.tenant, self.model)
            assert job.lease is not None
            place.savepoint()
            place.connection.execute("insert into public.effects values (%s, %s)", [job.id, job.lease.token])
            assert place.work is not None
            place.work.changes["effect", job.lease.token] = job.id
            (answer,) = self._complete(place, [Item(job.id, job.lease.token, outcome, result=1)], commits)
            if answer == "done":
                place.release()
            else:
                place.undo(self.model)
            self._reach(f"handler: {answer}")

    # -- workers -----------------------------------------------------------------------------------

    def held(self, worker: uuid.UUID) -> list[uuid.UUID]:
        """The tokens that a worker was given and that still count."""
        given = {row["lease_token"] for _, row in self.runs}
        leases = [job.lease for job in self.running() if job.lease and job.lease.worker == worker]
        return [lease.token for lease in leases if lease.token in given]

    @action(
        2,
        worker=st.sampled_from(WORKERS),
        names=st.sampled_from(["all", "all", "first", "nothing", "old", "does not say"]),
        commits=st.booleans(),
    )
    def beat(self, worker: uuid.UUID, names: str, commits: bool) -> None:
        held: list[uuid.UUID] | None = self.held(worker)
        if names == "old":
            held = list({row["lease_token"]: None for given, row in self.runs if given == worker})
        elif names != "all":
            held = {"first": held and held[:1], "nothing": [], "does not say": None}[names]
        place = self.real.worker
        with self.at(place) as work:
            rows = self.act(
                place, work, "heartbeat_jobs", lambda: [("worker", worker)], commits, worker_id=worker, runs=held
            )
            said = self.model.beat(work, worker, held)
        assert Counter((row["signal"], row["job_id"], row["lease_token"]) for row in rows) == Counter(said)

    @action(1, worker=st.sampled_from(WORKERS))
    def leave(self, worker: uuid.UUID) -> None:
        """Never while a claim of the same worker is open: it would not."""
        if self.model.others(Work(), ("worker", worker)):
            return
        with self.at(self.real.worker) as work:
            assert self.real.worker.call("heartbeat_jobs", worker_id=worker, alive=dt.timedelta(0)) == []
            self.model.leave(work, worker)

    @action(2, lambda self: self.running() and self.holders(), commits=st.booleans())
    def hold(self, commits: bool) -> None:
        """A handler that commits in steps asks whether its lease stands, and keeps it."""
        place = self.draw(self.holders(), "at")
        if job := self.pick(place, self.running(), lambda job: place.tenant in (None, job.tenant)):
            assert job.lease is not None
            asked = Item(job.id, job.lease.token, "")
            with self.at(place) as work:

                def keys() -> list[Key]:
                    return [("job", job.id)] if self.model.ends(work, asked, place.tenant) else []

                (row,) = self.act(
                    place, work, "heartbeat_job", keys, commits, job_id=asked.job, lease_token=asked.token
                )
                stands = self.model.ends(work, asked, place.tenant)
                if stands:
                    work.changes["hold", job.id] = True
                wanted = bool(stands and self.model.see(work, "request", job.id))
            deadline = stands.lease.deadline if stands and stands.lease else None
            assert (row["held"], row["cancel_requested"], row["deadline"]) == (bool(stands), wanted, deadline)
            self._reach(f"hold: {'stands' if stands else 'is lost'}")

    # -- time --------------------------------------------------------------------------------------

    def move(self, by: dt.timedelta) -> None:
        self.model.now += by
        self.real.set_now(self.model.now)

    @action(2, seconds=st.sampled_from([1, 5, 16, 31, 31, 75, 3700, 8 * 86400]))
    def advance(self, seconds: int) -> None:
        self.move(seconds * SECOND)

    def _rescue_place(self) -> Place:
        """Not in an open transaction where the next time has chance in it: nobody could look what it is."""
        place = self.draw([*self.workers(), self.real.admin], "at")
        by_chance = any(job.crashes for job in self.model.expired(place.work or Work()))
        return self.real.worker if by_chance else place

    @action(2, limit=st.sampled_from([1, 1000, 1000]))
    def rescue(self, limit: int) -> None:
        self._rescue(self._rescue_place(), limit)

    def _rescue(self, place: Place, limit: int = 1000) -> None:
        with self.at(place) as work:
            (row,) = self.act(place, work, "rescue_expired_jobs", list, True, limit=limit)
            assert row["rescue_expired_jobs"] == self.model.rescue(work, limit)

    @action(2, worker=st.sampled_from(WORKERS))
    def upkeep(self, worker: uuid.UUID) -> None:
        self._upkeep(self._rescue_place(), worker)

    def _upkeep(self, place: Place, worker: uuid.UUID) -> None:
        with self.at(place) as work:
            rows = self.act(place, work, "upkeep", list, True, worker_id=worker)
            assert {row["step"]: row["moved"] for row in rows} == self.model.upkeep(work, worker)

    @action(4, lambda self: not self.opened(), worker=st.sampled_from(WORKERS), times=st.integers(1, 5))
    def workers_keep_dying(self, worker: uuid.UUID, times: int) -> None:
        """Whoever claims is lost, again and again: five times in one example is rare otherwise."""
        for _ in range(times):
            self._claim(self.real.worker, worker)
            for _ in range(3):
                self._claim_suspect(self.real.worker, worker)
            self.check()
            self.move(ALIVE)
            self._rescue(self.real.worker)
            self.check()
            self.move(ALIVE)

    # -- a tenant's hand, and an administrator's -----------------------------------------------------

    def _target(self, place: Place, *states: str) -> uuid.UUID | None:
        """A job, as a rule of the place's tenant and in one of these states; sometimes one that it cannot see."""
        everywhere = {job.id: job for other in self.opened() for job in self.seen(other)}
        jobs = {job.id: job for job in self.seen(place)}
        every = sorted((everywhere | jobs).values(), key=lambda job: job.id)
        job = self.pick(place, every, lambda job: job.tenant == place.tenant and job.state in states and job.id in jobs)
        return job.id if job else None

    def _said(self, place: Place, rows: list[Row] | None, job: Job | None) -> None:
        """The answer of all three: the job as it is now, seen from there."""
        if job is None:
            assert rows == []
            self._reach("job: not there, or another tenant's")
            return
        assert rows is not None
        (row,) = rows
        seen = (row["id"], row["tenant_id"], row["state"], row["run"], row["attempt"], row["crashes"])
        assert seen == (job.id, place.tenant, job.state, job.run, job.attempt, job.crashes)

    @action(4, commits=st.booleans())
    def cancel(self, commits: bool) -> None:
        place = self.draw(self.applications(), "at")
        job_id = self._target(place, "running", "queued", "scheduled")
        if job_id is not None:
            self._cancel(place, job_id, commits)

    def _cancel(self, place: Place, job_id: uuid.UUID, commits: bool) -> None:
        with self.at(place) as work:

            def own() -> Job | None:
                return self.model.own(work, job_id, str(place.tenant))

            def keys() -> list[Key]:
                job = own()
                if job is None or job.state in ENDED:
                    return []
                return [("request" if job.lease else "job", job.id)]

            before = own()
            rows = self.act(place, work, "cancel_job", keys, commits, job_id=job_id)
            if job := own():
                self.model.cancel(work, job, told=before is not None and before.lease is not None)
            self._said(place, rows, own())

    @action(
        1,
        lambda self: self.running() and self.closed(self.real.handlers),
        outcome=st.sampled_from(["released", "released", "failed", "succeeded"]),
        pruned=st.sampled_from(["", "before", "behind"]),
        held=st.booleans(),
    )
    def cancel_late(self, outcome: str, pruned: str, held: bool) -> None:
        """The cancel of a running job commits after the run has ended; at the upkeep another may have the job.

        Or it is pruned, before the cancel commits or behind it.
        """
        place = self.closed(self.real.handlers)[0]
        job = self.draw(self.running(), "job")
        assert job.lease is not None
        place.begin(job.tenant, self.model)
        self._cancel(place, job.id, commits=True)
        self._complete(self.real.worker, [Item(job.id, job.lease.token, outcome)], commits=True)
        if pruned == "before":
            self._prune_and_commit()
        if place.work is not None:
            place.end(self.model, commits=True)
        if pruned == "behind":
            self._prune_and_commit()
        ended = self.model.committed.get(("job", job.id))
        if ended is None:
            self.check()
            self._upkeep(self.real.worker, WORKERS[0])
        elif held and ended.state in WAITING and self.model.free(Work(), ended):
            place.begin(job.tenant, self.model)
            self._reschedule(place, job.id, 10, commits=True)
            self._upkeep(self.real.worker, WORKERS[0])

    @action(3, commits=st.booleans())
    def retry(self, commits: bool) -> None:
        place = self.draw(self.applications(), "at")
        job_id = self._target(place, "dead", "canceled")
        if job_id is not None:
            self._retry(place, job_id, commits)

    def _retry(self, place: Place, job_id: uuid.UUID, commits: bool) -> None:
        with self.at(place) as work:

            def own() -> Job | None:
                return self.model.own(work, job_id, str(place.tenant))

            def kept() -> tuple[Job | None, bool]:
                return (job := own()), job is not None and self.model.keeper(work, job) is not None

            def keys() -> list[Key]:
                job, is_kept = kept()
                if job is None or job.state not in {"dead", "canceled"}:
                    return []
                wanted = [] if is_kept or not self.model.see(work, "request", job_id) else [("request", job_id)]
                return [("job", job_id), ("unique", job.tenant, job.unique), *wanted]

            rows, (job, is_kept) = self.refused(
                place, lambda: self.act(place, work, "retry_job", keys, commits, job_id=job_id), kept
            )
            if rows is None:
                assert job is not None
                ended = job.state in {"dead", "canceled"}
                assert is_kept or not ended
                self._reach(f"retry: refused{', its unique key is kept' if ended else ''}")
                return
            if job is not None:
                assert self.model.retry(work, job)
            self._said(place, rows, own())

    @action(3, delay=st.sampled_from([None, 0, 10, 50]), commits=st.booleans())
    def reschedule(self, delay: int | None, commits: bool) -> None:
        place = self.draw(self.applications(), "at")
        job_id = self._target(place, "queued", "scheduled")
        if job_id is not None:
            self._reschedule(place, job_id, delay, commits)

    def _reschedule(self, place: Place, job_id: uuid.UUID, delay: int | None, commits: bool) -> None:
        given = {} if delay is None else {"delay": delay * SECOND}
        with self.at(place) as work:

            def own() -> Job | None:
                return self.model.own(work, job_id, str(place.tenant))

            def keys() -> list[Key]:
                job = own()
                return [("job", job_id)] if job and job.state in WAITING else []

            rows, job = self.refused(
                place, lambda: self.act(place, work, "reschedule_job", keys, commits, job_id=job_id, **given), own
            )
            assert (rows is None) == (job is not None and job.state not in WAITING)
            if rows is None:
                self._reach("reschedule: refused, the job is elsewhere")
                return
            if job is not None:
                assert self.model.reschedule(work, job, self.model.now + (delay or 0) * SECOND)
            self._said(place, rows, own())

    @action(1, tenant=st.sampled_from(TENANTS), paused=rarely)
    def pause_or_resume(self, tenant: str, paused: bool) -> None:
        self._pause(tenant, paused)

    def _pause(self, tenant: str, paused: bool) -> None:
        with self.at(self.real.admin) as work:
            self.real.admin.call("pause_tenant" if paused else "resume_tenant", tenant_id=tenant)
            before = self.model.see(work, "pause", tenant)
            work.changes["pause", tenant] = (before or self.model.now) if paused else None
        if bool(before) != paused:
            self._reach("tenant: paused" if paused else "tenant: resumed")

    # -- pruning -----------------------------------------------------------------------------------

    @action(2, keep=st.fixed_dictionaries(dict.fromkeys(KEPT, spans)), limit=st.sampled_from([1, 2, 1000, 1000]),
            anew=often, commits=often)  # fmt: skip
    def prune(self, keep: Keep, limit: int, anew: bool, commits: bool) -> None:
        # half a millisecond between what leaves and what stays, for an id at the limit is on either side by chance
        self._prune({kind: time and time + TICK / 2 for kind, time in keep.items()}, limit, anew)
        if commits:
            self._commit(self.real.pruner)

    def _prune(self, keep: Keep, limit: int = 1000, anew: bool = True) -> None:
        """Another retention, of which nobody else ever hears, in a transaction that stays open."""
        place = self.real.pruner
        if place.work is None:
            place.begin(None, self.model)
        self._keep(keep)
        with self.at(place) as work:
            rows = self.act(place, work, "prune", list, True, limit=limit, anew=anew)
            said = self.model.prune(work, keep, limit, anew=anew)
        self._keep(KEPT)
        assert [(row["kind"], row["pruned"], row["more"]) for row in rows] == said

    def _prune_and_commit(self) -> None:
        if not self.real.pruner.work:
            self.move(TICK)
            self._prune(AT_ONCE)
            self._commit(self.real.pruner)

    def _keep(self, keep: Keep) -> None:
        self.real.pruner.connection.execute(
            "select jobforge.set_retention(k, t) from unnest(%s::text[], %s::interval[]) u (k, t)",
            [list(keep), list(keep.values())],
        )

    def _commit(self, place: Place) -> None:
        assert place.work is not None
        place.end(self.model, commits=True)

    @action(
        2,
        lambda self: self.closed(self.real.handlers) and not self.real.pruner.work,
        tenant=st.sampled_from(TENANTS),
        late=st.booleans(),
        retries=st.booleans(),
        again=st.booleans(),
        commits=st.booleans(),
    )
    def prune_meets(self, tenant: str, late: bool, retries: bool, again: bool, commits: bool) -> None:
        """A prune and an application's transaction want the same, an ended job or its unique key; who is late waits.

        Or a second look finds what became of it.
        """
        session, place = self.real.tenants[tenant], self.closed(self.real.handlers)[0]
        self._enqueue(session, BARE, commits, "u")
        holder = self.model.see(Work(), "unique", tenant, "u")
        self._cancel(session, holder, commits)
        self.check()
        self.move(TICK)
        if late:
            self._prune(AT_ONCE)
        place.begin(tenant, self.model)
        if retries:
            self._retry(place, holder, commits)
        else:
            self._enqueue(place, BARE, commits, "u")
        if not late:
            self._prune(AT_ONCE)
            if again and place.work:
                place.end(self.model, commits)
                self._prune(AT_ONCE)

    @action(1, lambda self: self.model.gone, commits=st.booleans())
    def meet_gone(self, commits: bool) -> None:
        """All that can be asked of what was pruned: it is as if it had never been, but for its idempotency key."""
        place = self.draw(self.applications(), "at")
        job_id = self.draw(self.model.gone, "job")
        assert place.call("get_job", job_id=job_id) == []
        self._cancel(place, job_id, commits)
        self._retry(place, job_id, commits)
        self._reschedule(place, job_id, None, commits)
        if items := [item for item in self.told if item.job == job_id]:
            assert self._complete(self.real.worker, items[:1], commits) == ["lost"]
        keys = self.model.every(Work(), "key")
        left = {tenant: key for (_, tenant, key), (named, _) in keys if named in self.model.gone}
        if left:
            tenant = self.draw(sorted(left), "tenant")
            self._enqueue(self.real.tenants[tenant], BARE | {"key": left[tenant], "payload": 1}, commits)
        self._reach("job: it is pruned")

    @action(1, lambda self: not self.real.reader.work, tenant=st.sampled_from(TENANTS))
    def open_reader(self, tenant: str) -> None:
        self.real.reader.begin(tenant, self.model, "repeatable read")
        self.snapshot = self.real.reader.jobs()

    @action(2, lambda self: self.real.reader.work)
    def end_reader(self) -> None:
        """It still sees what is pruned; but it cannot bring that back."""
        gone = [job_id for job_id in self.snapshot if ("job", job_id) not in self.model.committed]
        if gone:
            job_id = self.draw(gone, "job")
            state = "40001" if self.snapshot[job_id] in {"dead", "canceled"} else "JF008"
            with pytest.raises(psycopg.Error) as caught:
                self.real.reader.call("retry_job", job_id=job_id)
            self._reach(f"job: pruned behind a snapshot, {caught.value.sqlstate}")
            assert caught.value.sqlstate == state
        self.real.reader.end(self.model, commits=False)

    # -- what always holds ---------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        self.sound = False
        self.check()
        self.sound = True
        self.move(TICK)

    def check(self) -> None:
        """I1 to I8 and I10: what is committed is what the model says, no more and no less, for each who looks."""
        found = self.real.facts()
        self.model.narrow(found)
        wanted = self.model.facts()
        assert found == wanted, f"not in the model: {found - wanted}; not in the database: {wanted - found}"
        # such a request the next upkeep takes away
        requests = [key[1] for key, _ in self.model.every(Work(), "request")]
        late = {job_id for job_id in requests if self.model.job(Work(), job_id) is None}
        assert set(self.real.audit()) == {(job_id, "has a cancel request without a job") for job_id in late}
        if self.real.reader.work:
            assert self.real.reader.jobs() == self.snapshot
        for place in (*self.real.tenants.values(), *(place for place in self.real.handlers if place.work)):
            own = {job.id: job.state for job in self.seen(place) if job.tenant == place.tenant}
            assert place.jobs() == own, f"{place} sees other jobs than its own"
        self._check_bounds()

    def _check_bounds(self) -> None:
        for job in self.model.jobs(Work()):
            assert job.attempt <= job.max_attempts
            assert job.crashes <= CRASHES_TO_DEATH
            assert [ended.run for ended in job.record] == list(range(1, len(job.record) + 1))
            assert sum(ended.outcome == "succeeded" for ended in job.record) <= 1
        effects = {token: job_id for (kind, token, *_), job_id in self.model.committed.items() if kind == "effect"}
        for token, job_id in effects.items():
            done = self.model.job(Work(), job_id)
            ends = done and sum(ended.lease.token == token for ended in done.record)
            assert ends in {None, 1}, "an effect without its completion"

    # -- the end -------------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Nothing is ever stuck: whatever stands at the end of an example can be brought to its end."""
        if not self.sound:
            return
        self.counting = False
        for ending in [*self.opened(), *([self.real.reader] if self.real.reader.work else [])]:
            ending.end(self.model, commits=True)
        for tenant in TENANTS:
            self._pause(tenant, False)
        for _ in range(3):
            self.move(2 * 3600 * SECOND)
            self._upkeep(self.real.worker, WORKERS[0])
            self.check()
            rows = self._claim(self.real.worker, WORKERS[1])
            while suspects := self._claim_suspect(self.real.worker, WORKERS[1]):
                rows += suspects
            self._complete(
                self.real.worker, [Item(row["job_id"], row["lease_token"], "succeeded") for row in rows], True
            )
            self.check()
        left = [job for job in self.model.jobs(Work()) if job.state not in ENDED]
        assert left == [], f"stuck: {left}"
