"""The lease protocol in plain Python: what each function of the schema does to a job, and for whom it waits.

Facts are keyed: ("job", id), ("key", tenant, key), ("request", id), ("worker", id), ("pause", tenant),
("effect", token). What an open transaction has changed hides behind it until it commits, and holds up or turns away
whoever wants the same key: that is all there is of locks. ("hold", id) is a lease that a handler keeps standing with
heartbeat_job.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

SECOND = dt.timedelta(seconds=1)
ALIVE = 30 * SECOND  # p_alive's default
MARGIN = 60 * SECOND  # between a run's timeout and its deadline
UNLIMITED = 3600 * SECOND  # the timeout of a job without one
FORGOTTEN = 3600 * SECOND  # so long upkeep remembers a dead worker

CRASHES_TO_DEATH = 5
CRASHES_OF_A_SUSPECT = 2  # from so many on claim_jobs passes a job over, and claim_suspect has it

FAILURES = frozenset({"failed", "timed_out"})
ENDED = frozenset({"succeeded", "dead", "canceled"})
WAITING = frozenset({"queued", "scheduled"})

Key = tuple[Any, ...]
Fact = tuple[Any, ...]  # one row of the database as `facts` has it


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to end a run."""

    token: uuid.UUID
    worker: uuid.UUID
    claimed_at: dt.datetime
    deadline: dt.datetime


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that has ended."""

    run: int
    attempt: int
    outcome: str
    lease: Lease
    finished_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job where it stands. Its numbers are those of its row there: in a lease the run and attempt under way."""

    id: uuid.UUID
    tenant: str
    queue: str
    priority: int
    max_attempts: int
    timeout: dt.timedelta | None
    created_at: dt.datetime
    run_at: dt.datetime
    state: str = "queued"
    run: int = 0
    attempt: int = 0
    crashes: int = 0
    since: tuple[dt.datetime, dt.datetime] | None = None  # finished then, or due between
    lease: Lease | None = None
    record: tuple[Attempt, ...] = ()


@dataclass(eq=False, slots=True)
class Work:
    """What a transaction has changed so far; None is what it has deleted."""

    changes: dict[Key, Any] = field(default_factory=dict)
    marks: list[dict[Key, Any]] = field(default_factory=list)  # as it was at each savepoint

    def mark(self) -> None:
        self.marks.append(dict(self.changes))

    def undo(self) -> None:
        """Go back to the last savepoint, and forget it."""
        self.changes = self.marks.pop()


@dataclass(frozen=True, slots=True)
class Item:
    """One item of complete_jobs."""

    job: uuid.UUID
    token: uuid.UUID
    outcome: str
    final: bool = False
    delay: int | None = None


def is_suspect(job: Job) -> bool:
    return job.crashes >= CRASHES_OF_A_SUSPECT


class Model:
    """All that is committed, and what is under way beside it."""

    def __init__(self, now: dt.datetime, reached: Callable[[str], None]) -> None:
        self.now = now
        self.committed: dict[Key, Any] = {}
        self.open: list[Work] = []
        self.reached = reached  # told of each transition, by name

    # -- transactions ----------------------------------------------------------------------------

    def begin(self) -> Work:
        work = Work()
        self.open.append(work)
        return work

    def commit(self, work: Work) -> None:
        self.open.remove(work)
        for key, fact in work.changes.items():
            if fact is None or key[0] == "hold":
                self.committed.pop(key, None)
            else:
                self.committed[key] = fact

    def roll_back(self, work: Work) -> None:
        self.open.remove(work)

    @contextmanager
    def at_once(self) -> Iterator[Work]:
        """A transaction of one call."""
        work = self.begin()
        try:
            yield work
        except BaseException:
            self.roll_back(work)
            raise
        self.commit(work)

    def see(self, work: Work, *key: Any) -> Any:
        return work.changes[key] if key in work.changes else self.committed.get(key)

    def job(self, work: Work, job_id: uuid.UUID) -> Job | None:
        found: Job | None = self.see(work, "job", job_id)
        return found

    def jobs(self, work: Work) -> list[Job]:
        seen = self.committed | work.changes
        return sorted((job for key, job in seen.items() if key[0] == "job"), key=lambda job: job.id)

    def others(self, work: Work, *keys: Key) -> list[Work]:
        """The other transactions that have one of these under way."""
        return [other for other in self.open if other is not work and any(key in other.changes for key in keys)]

    def free(self, work: Work, job: Job) -> bool:
        """Whether the job's row can be locked at once."""
        return not self.others(work, ("job", job.id), ("hold", job.id))

    def put(self, work: Work, job: Job) -> None:
        work.changes["job", job.id] = job

    # -- enqueue ---------------------------------------------------------------------------------

    def enqueue(self, work: Work, job: Job, key: str | None) -> tuple[uuid.UUID, bool]:
        """Give the id and whether it is new; `job` has the id that the database gave."""
        if key is not None:
            if original := self.see(work, "key", job.tenant, key):
                self.reached("enqueue: the original")
                return original, False
            work.changes["key", job.tenant, key] = job.id
        later = job.run_at > self.now
        since = (job.run_at, job.run_at) if later else None
        self.put(work, replace(job, state="scheduled" if later else "queued", since=since))
        self.reached(f"enqueue: {'scheduled' if later else 'queued'}")
        return job.id, True

    # -- claim -----------------------------------------------------------------------------------

    def keeps_alive(self, work: Work, worker: uuid.UUID) -> bool:
        """Whether a claim writes the worker's row."""
        until = self.see(work, "worker", worker)
        return until is None or until <= self.now + ALIVE / 2

    def claim(
        self, work: Work, worker: uuid.UUID, writes: bool, queues: Sequence[str], limit: int, rows: list[Any]
    ) -> None:
        """Check what claim_jobs gave, and take it over: who of equals comes first is for the ring to say.

        `writes`: what keeps_alive said before the call, which may have waited since.
        """
        self._begin_claim(work, worker, writes)
        given = {row["job_id"]: row for row in rows}
        assert len(given) == len(rows), "a claim gave a job twice"
        for queue in queues:
            claimable = self._claimable(work, queue)
            mine = [row for row in rows if row["queue"] == queue]
            assert len(mine) == min(limit, sum(map(len, claimable.values()))), f"{len(mine)} of {queue}: {claimable}"
            limit -= len(mine)
            self._check_shares(claimable, [row["job_id"] for row in mine])
            for job in [job for jobs in claimable.values() for job in jobs if job.id in given]:
                self._lease(work, job, worker, given.pop(job.id))
        assert not given, f"a claim gave what it may not: {given}"

    def claim_suspect(
        self, work: Work, worker: uuid.UUID, writes: bool, queues: Sequence[str], rows: list[Any]
    ) -> None:
        """Check what claim_suspect gave: one, of the first queue that has any, and no other of its tenant before it."""
        self._begin_claim(work, worker, writes)
        claimable = [self._claimable(work, queue, suspects=True) for queue in queues]
        of_queue = next((by_tenant for by_tenant in claimable if by_tenant), {})
        assert len(rows) == (1 if of_queue else 0), f"{len(rows)} suspects of {claimable}"
        for row in rows:
            job = of_queue[row["tenant_id"]][0]
            assert row["job_id"] == job.id
            self._lease(work, job, worker, row)

    def _begin_claim(self, work: Work, worker: uuid.UUID, writes: bool) -> None:
        if writes:
            until = self.see(work, "worker", worker)
            work.changes["worker", worker] = max(until or self.now, self.now + ALIVE)
        self.promote(work)

    def _claimable(self, work: Work, queue: str, *, suspects: bool = False) -> dict[str, list[Job]]:
        by_tenant: dict[str, list[Job]] = {}
        for job in sorted(self.jobs(work), key=lambda job: (job.priority, job.id)):
            paused = self.see(work, "pause", job.tenant) is not None
            if job.state != "queued" or job.queue != queue or paused:
                continue
            if is_suspect(job) and not suspects:
                self.reached("claim: passes over a suspect")
            elif is_suspect(job) == suspects:
                if self.free(work, job):
                    by_tenant.setdefault(job.tenant, []).append(job)
                else:
                    self.reached(f"{'suspect' if suspects else 'claim'}: passes over what another holds")
        return by_tenant

    @staticmethod
    def _check_shares(claimable: dict[str, list[Job]], given: list[uuid.UUID]) -> None:
        shares: list[int] = []
        for tenant, jobs in claimable.items():
            got = [job.id for job in jobs if job.id in given]
            assert got == [job.id for job in jobs[: len(got)]], f"{tenant}'s jobs did not come in their order"
            if len(got) < len(jobs):
                shares.append(len(got))
        most = max((sum(job.id in given for job in jobs) for jobs in claimable.values()), default=0)
        assert all(most - share <= 1 for share in shares), f"unequal shares: {most}, {shares}"

    def _lease(self, work: Work, job: Job, worker: uuid.UUID, row: dict[str, Any]) -> None:
        deadline = self.now + (job.timeout or UNLIMITED) + MARGIN
        lease = Lease(row["lease_token"], worker, self.now, deadline)
        self.put(work, replace(job, state="running", run=job.run + 1, attempt=job.attempt + 1, since=None, lease=lease))
        said = (row["tenant_id"], row["run"], row["attempt"], row["crashes"], row["claimed_at"], row["deadline"])
        assert said == (job.tenant, job.run + 1, job.attempt + 1, job.crashes, self.now, deadline)
        self.reached(f"{'suspect' if is_suspect(job) else 'claim'}: running")

    def promote(self, work: Work) -> int:
        due = [
            job
            for job in self.jobs(work)
            if job.state == "scheduled" and job.since and job.since[1] <= self.now and self.free(work, job)
        ]
        for job in due:
            self.put(work, replace(job, state="queued", since=None))
            self.reached("promote: queued")
        return len(due)

    # -- the end of a run ------------------------------------------------------------------------

    def ends(self, work: Work, item: Item, tenant: str | None) -> Job | None:
        """The job whose run this item ends, if it ends one."""
        job = self.job(work, item.job)
        if job is None or job.lease is None or job.lease.token != item.token or tenant not in (None, job.tenant):
            return None
        return job

    def complete(self, work: Work, items: Iterable[Item], tenant: str | None) -> list[str]:
        """End runs, and give the answers in the order of the items."""
        items = list(items)
        answers: dict[int, str] = {}
        for place, item in enumerate(items):
            if job := self.ends(work, item, tenant):
                self.settle(work, job, item.outcome, final=item.final, delay=item.delay)
                answers[place] = "done"
        return [answers.get(place) or self._late(work, item, tenant) for place, item in enumerate(items)]

    def _late(self, work: Work, item: Item, tenant: str | None) -> str:
        job = self.job(work, item.job)
        record = job.record if job and tenant in (None, job.tenant) else ()
        done = any(ended.lease.token == item.token and ended.outcome == item.outcome for ended in record)
        answer = "already_done" if done else "lost"
        self.reached(f"complete: {answer}")
        return answer

    def settle(
        self, work: Work, job: Job, outcome: str, *, final: bool = False, delay: int | None = None, told: bool = True
    ) -> None:
        """Where a run ends: what is charged, what is recorded, and where the job goes. `told`: by its worker."""
        assert job.lease is not None
        charged = job.attempt if outcome in FAILURES or outcome == "succeeded" else job.attempt - 1
        crashes = job.crashes + (outcome == "lost")
        wanted = self.see(work, "request", job.id) is not None
        state, since = "queued", None
        worn = outcome in FAILURES and (final or job.attempt >= job.max_attempts)
        if outcome == "succeeded":
            state = "succeeded"
        elif outcome == "canceled" or wanted:
            state = "canceled"
        elif worn or (outcome == "lost" and crashes >= CRASHES_TO_DEATH):
            state = "dead"
        else:
            low, high = self._wait(job, outcome, delay)
            if high > dt.timedelta(0):
                state, since = "scheduled", (self.now + low, self.now + high)
        if state in ENDED:
            since = (self.now, self.now)
        elif told and outcome in {"failed", "timed_out", "snoozed"}:
            crashes = 0
        record = (*job.record, Attempt(job.run, job.attempt, outcome, job.lease, self.now))
        ended = replace(job, state=state, attempt=charged, crashes=crashes, since=since, lease=None, record=record)
        self.put(work, ended)
        if wanted:
            work.changes["request", job.id] = None
        self.reached(f"{outcome}: {state}{', on request' if wanted else ''}")

    @staticmethod
    def _wait(job: Job, outcome: str, delay: int | None) -> tuple[dt.timedelta, dt.timedelta]:
        if outcome == "lost":
            least = 2 ** (job.crashes - 1) * SECOND if job.crashes else dt.timedelta(0)
            return least, 2 * least
        if delay is None:
            delay = min(3600, 2 ** (job.attempt - 1)) if outcome in FAILURES else 0
        return delay * SECOND, delay * SECOND

    # -- heartbeats, rescue, upkeep ----------------------------------------------------------------

    def beat(self, work: Work, worker: uuid.UUID, held: Sequence[uuid.UUID] | None) -> set[Fact]:
        """A sign of life; gives the signals."""
        work.changes["worker", worker] = self.now + ALIVE
        if held is None:
            return set()
        leases = {job.lease.token: job for job in self.jobs(work) if job.lease and job.lease.worker == worker}
        said: set[Fact] = {("lost", None, token) for token in held if token not in leases}
        for token, job in leases.items():
            assert job.lease is not None
            if token in held:
                if self.see(work, "request", job.id):
                    said.add(("cancel", job.id, token))
            elif job.lease.claimed_at < self.now - ALIVE and self.free(work, job):
                self.settle(work, job, "released")
                said.add(("released", job.id, token))
        for signal, _, _ in said:
            self.reached(f"heartbeat: {signal}")
        return said

    def leave(self, work: Work, worker: uuid.UUID) -> None:
        if self.see(work, "worker", worker) is None:
            return
        holds = any(job.lease and job.lease.worker == worker for job in self.jobs(work))
        work.changes["worker", worker] = self.now if holds else None
        self.reached(f"leave: {'with' if holds else 'without'} leases")

    def expired(self, work: Work) -> list[Job]:
        """The leases that a rescue would take, in its order."""
        return [job for job in self.jobs(work) if job.lease and self._is_over(work, job) and self.free(work, job)]

    def _is_over(self, work: Work, job: Job) -> bool:
        assert job.lease is not None
        until = self.see(work, "worker", job.lease.worker)
        return until is None or until <= self.now or job.lease.deadline <= self.now

    def rescue(self, work: Work, limit: int = 1000) -> int:
        expired = self.expired(work)[:limit]
        for job in expired:
            assert job.lease is not None
            self.settle(work, job, "lost" if job.lease.deadline > self.now else "timed_out", told=False)
        return len(expired)

    def upkeep(self, work: Work, worker: uuid.UUID) -> dict[str, int]:
        moved = {"rescued": self.rescue(work), "promoted": self.promote(work), "canceled": self._settle_cancels(work)}
        busy = {job.lease.worker for job in self.jobs(work) if job.lease}
        seen = self.committed | work.changes
        dead = [
            key
            for key, until in seen.items()
            if key[0] == "worker" and until is not None and until < self.now - FORGOTTEN
            and key[1] != worker and key[1] not in busy and not self.others(work, key)
        ]  # fmt: skip
        for key in dead:
            work.changes[key] = None
            self.reached("upkeep: a worker is forgotten")
        return moved | {"forgotten": len(dead), "pruned": 0}

    def _settle_cancels(self, work: Work) -> int:
        settled = 0
        for kind, job_id in [
            key for key, fact in (self.committed | work.changes).items() if key[0] == "request" and fact
        ]:
            job = self.job(work, job_id)
            assert job is not None
            if job.lease or self.others(work, (kind, job_id)):
                continue
            if job.state in WAITING:
                if not self.free(work, job):
                    self.reached("upkeep: a late cancel whose job another holds")
                    continue
                self.put(work, replace(job, state="canceled", since=(self.now, self.now)))
            work.changes[kind, job_id] = None
            self.reached(f"upkeep: a late cancel of what {'waits' if job.state in WAITING else 'has ended'}")
            settled += 1
        return settled

    # -- a tenant's hand ---------------------------------------------------------------------------

    def own(self, work: Work, job_id: uuid.UUID, tenant: str) -> Job | None:
        job = self.job(work, job_id)
        return job if job and job.tenant == tenant else None

    def cancel(self, work: Work, job: Job, told: bool) -> None:
        """`told`: the run was seen going on before a wait for another's request, so that its end is too late."""
        if job.state in WAITING:
            self.put(work, replace(job, state="canceled", since=(self.now, self.now)))
            self.reached(f"cancel: {job.state}")
        elif job.lease or told:
            if self.see(work, "request", job.id) is None:
                work.changes["request", job.id] = (job.tenant, self.now)
            self.reached("cancel: running" if job.lease else "cancel: the run ended meanwhile")
        else:
            self.reached("cancel: ended")

    def retry(self, work: Work, job: Job) -> bool:
        if job.state not in {"dead", "canceled"}:
            return False
        self.put(work, replace(job, state="queued", attempt=0, crashes=0, since=None))
        if self.see(work, "request", job.id):
            work.changes["request", job.id] = None
            self.reached("retry: forgets a late cancel")
        self.reached(f"retry: {job.state}")
        return True

    def reschedule(self, work: Work, job: Job, run_at: dt.datetime) -> bool:
        if job.state not in WAITING:
            return False
        later = run_at > self.now
        since = (run_at, run_at) if later else None
        self.put(work, replace(job, state="scheduled" if later else "queued", since=since))
        self.reached(f"reschedule: {job.state} to {'scheduled' if later else 'queued'}")
        return True

    # -- what the database must hold ---------------------------------------------------------------

    def narrow(self, rows: Iterable[Fact]) -> None:
        """Take over when a lost job is due, which has chance in it: between the two ends it is right."""
        for kind, job_id, *_, at, _, _, _, _ in rows:
            job = self.committed.get(("job", job_id))
            if kind == "scheduled" and job and job.state == kind and job.since[0] <= at <= job.since[1]:
                self.committed["job", job_id] = replace(job, since=(at, at))

    def facts(self) -> Counter[Fact]:
        """The rows that must stand committed, as `database.FACTS` reads them."""
        return Counter(row for key, fact in self.committed.items() for row in _facts(key, fact))


def _facts(key: Key, fact: Any) -> Iterator[Fact]:
    kind, name, *rest = key
    if kind == "job":
        yield from _job_facts(fact)
    elif kind == "key":
        yield ("key", fact, name, None, None, None, None, None, None, None, rest[0])
    elif kind == "request":
        tenant, at = fact
        yield ("request", name, tenant, None, None, None, at, None, None, None, None)
    elif kind == "worker":
        yield ("worker", None, None, None, None, None, fact, None, None, name, None)
    elif kind == "effect":
        yield ("effect", fact, None, None, None, None, None, None, name, None, None)


def _job_facts(job: Job) -> Iterator[Fact]:
    fixed = (job.max_attempts, job.priority, None, job.created_at, job.run_at, None, None, job.queue)
    yield ("job", job.id, job.tenant, *fixed)
    at, until, token, worker = (job.since or (None,))[0], None, None, None
    if job.lease:
        at, until, token, worker = job.lease.claimed_at, job.lease.deadline, job.lease.token, job.lease.worker
    queue = job.queue if job.state in WAITING else None
    yield (job.state, job.id, job.tenant, job.run, job.attempt, job.crashes, at, until, token, worker, queue)
    for ended in job.record:
        lease = ended.lease
        times = (lease.claimed_at, ended.finished_at)
        yield (
            "attempt",
            job.id,
            job.tenant,
            ended.run,
            ended.attempt,
            None,
            *times,
            lease.token,
            lease.worker,
            ended.outcome,
        )
