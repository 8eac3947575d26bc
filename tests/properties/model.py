"""The lease protocol in plain Python: what each function of the schema does to a job, and for whom it waits.

Facts are keyed: ("job", id), ("result", id), ("key", tenant, key), ("unique", tenant, key), ("request", id),
("worker", id), ("pause", tenant), ("walk", name), ("effect", token). What an open transaction has changed hides behind
it until it commits, and holds up or turns away whoever wants the same key: that is all there is of locks. One that it
has only locked it has changed to what it was. ("hold", id) is a lease that a handler keeps standing with heartbeat_job.
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
DAY = dt.timedelta(days=1)
Keep = dict[str, dt.timedelta | None]
KEPT: Keep = {  # the retention at first
    "succeeded": 7 * DAY,
    "canceled": 7 * DAY,
    "dead": 90 * DAY,
    "result": None,
    "idempotency_key": 90 * DAY,
}
WALKS = ("jobs", "results", "idempotency_keys")
RESTS = 60 * SECOND  # between the beginnings of a walk, as a rule
LOOKS = 5  # a walk looks at so many times what it may delete
START = uuid.UUID(int=0)  # where a walk is that is over

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
    payload: int = 0
    unique: str | None = None


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
    result: int | None = None


@dataclass(frozen=True, slots=True)
class Due:
    """One that a walk has met: of which job, whether it may leave, and what it is."""

    job: uuid.UUID
    due: bool
    key: Key


def is_suspect(job: Job) -> bool:
    return job.crashes >= CRASHES_OF_A_SUSPECT


class Model:
    """All that is committed, and what is under way beside it."""

    def __init__(self, now: dt.datetime, reached: Callable[[str], None]) -> None:
        self.now = now
        self.committed: dict[Key, Any] = {("walk", walk): (START, None) for walk in WALKS}
        self.gone: list[uuid.UUID] = []  # jobs that were pruned
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
                if key[0] == "job":
                    self.gone.append(key[1])
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
        return sorted((job for _, job in self.every(work, "job")), key=lambda job: job.id)

    def every(self, work: Work, kind: str) -> list[tuple[Key, Any]]:
        """All facts of this kind that are seen there."""
        seen = self.committed | work.changes
        return [(key, fact) for key, fact in seen.items() if key[0] == kind and fact is not None]

    def others(self, work: Work, *keys: Key) -> list[Work]:
        """The other transactions that have one of these under way."""
        return [other for other in self.open if other is not work and any(key in other.changes for key in keys)]

    def free(self, work: Work, job: Job) -> bool:
        """Whether the job's row can be locked at once."""
        return not self.others(work, ("job", job.id), ("hold", job.id))

    def put(self, work: Work, job: Job) -> None:
        work.changes["job", job.id] = job

    # -- enqueue ---------------------------------------------------------------------------------

    def enqueue(self, work: Work, job: Job, key: str | None) -> tuple[uuid.UUID, bool, bool]:
        """Give the id, whether it is new, and whether payloads differ; `job` has the id that the database gave."""
        if keeper := self.take_unique(work, job):
            self.reached("enqueue: an active job keeps its unique key")
            return keeper.id, False, keeper.payload != job.payload
        if key is not None:
            if named := self.see(work, "key", job.tenant, key):
                original = self.job(work, named[0])
                self.reached(f"enqueue: the original{'' if original else ', which is pruned'}")
                return named[0], False, original is not None and original.payload != job.payload
            work.changes["key", job.tenant, key] = (job.id, self.now)
        later = job.run_at > self.now
        since = (job.run_at, job.run_at) if later else None
        self.put(work, replace(job, state="scheduled" if later else "queued", since=since))
        self.reached(f"enqueue: {'scheduled' if later else 'queued'}")
        return job.id, True, False

    def keeper(self, work: Work, job: Job) -> Job | None:
        """The job that waits or runs and has this one's unique key."""
        holder = self.see(work, "unique", job.tenant, job.unique)
        found = self.job(work, holder) if holder else None
        return found if found and found.state not in ENDED else None

    def take_unique(self, work: Work, job: Job) -> Job | None:
        """Give the job its unique key, unless another keeps it: that one then. Either way the key is locked."""
        if job.unique is None:
            return None
        keeper = self.keeper(work, job)
        work.changes["unique", job.tenant, job.unique] = (keeper or job).id
        return keeper

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
                if item.outcome == "succeeded" and item.result is not None:
                    work.changes["result", job.id] = (job.tenant, item.result)
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
        moved = {"rescued": self.rescue(work), "promoted": self.promote(work), "resumed": 0,
                 "canceled": self._settle_cancels(work)}  # fmt: skip
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
        pruned = self.prune(work, KEPT, 1000, anew=False)
        return moved | {"forgotten": len(dead), "pruned": sum(gone for _, gone, _ in pruned)}

    def _settle_cancels(self, work: Work) -> int:
        settled = 0
        for kind, job_id in [
            key for key, fact in (self.committed | work.changes).items() if key[0] == "request" and fact
        ]:
            job = self.job(work, job_id)
            if (job and job.lease) or self.others(work, (kind, job_id)):
                continue
            if job and job.state in WAITING:
                if not self.free(work, job):
                    self.reached("upkeep: a late cancel whose job another holds")
                    continue
                self.put(work, replace(job, state="canceled", since=(self.now, self.now)))
            work.changes[kind, job_id] = None
            where = "is pruned" if job is None else "waits" if job.state in WAITING else "has ended"
            self.reached(f"upkeep: a late cancel of what {where}")
            settled += 1
        return settled

    # -- pruning ---------------------------------------------------------------------------------

    def prune(self, work: Work, keep: Keep, limit: int, *, anew: bool) -> list[tuple[str, int, bool]]:
        """Of each walk its name, how many left, and whether there may be more."""
        return [(walk, *self._walk(work, walk, keep, limit, anew)) for walk in WALKS]

    def _walk(self, work: Work, walk: str, keep: Keep, limit: int, anew: bool) -> tuple[int, bool]:
        behind, began = self.see(work, "walk", walk)
        if not anew and behind == START and began is not None and began >= self.now - RESTS:
            return 0, False
        if self.others(work, ("walk", walk)):
            self.reached("prune: another walks")
            return 0, anew
        if anew or behind == START:
            behind, began = START, self.now
        find, take = {
            "jobs": (self._old_jobs, self._prune_job),
            "results": (self._old_results, self._prune_result),
            "idempotency_keys": (self._old_keys, self._prune_key),
        }[walk]
        met = sorted((one for one in find(work, keep) if one.job > behind), key=lambda one: one.job)[: LOOKS * limit]
        due = [one for one in met if one.due]
        last = due[limit - 1] if len(due) >= limit else met[-1] if len(met) >= LOOKS * limit else None
        work.changes["walk", walk] = (last.job if last else START, began)
        return sum(take(work, one) for one in due[:limit]), last is not None

    def _past(self, at: dt.datetime, time: dt.timedelta | None) -> bool:
        return time is not None and at < self.now - time

    def _old_jobs(self, work: Work, keep: Keep) -> list[Due]:
        least = min((time for state in ENDED if (time := keep[state]) is not None), default=None)
        return [
            Due(job.id, self._past(job.since[0], keep[job.state]), ("job", job.id))
            for job in self.jobs(work)
            if job.state in ENDED and job.since and self._past(job.created_at, least)
        ]

    def _old_results(self, work: Work, keep: Keep) -> list[Due]:
        return [
            Due(job.id, self._past(job.since[0], keep["result"]), key)
            for key, _ in self.every(work, "result")
            if (job := self.job(work, key[1])) and job.since and self._past(job.created_at, keep["result"])
        ]

    def _old_keys(self, work: Work, keep: Keep) -> list[Due]:
        found = []
        for key, (job_id, created_at) in self.every(work, "key"):
            job = self.job(work, job_id)
            if self._past(created_at, keep["idempotency_key"]):
                found.append(Due(job_id, job is None or job.state in ENDED, key))
        return found

    def _prune_job(self, work: Work, one: Due) -> bool:
        job = self.job(work, one.job)
        assert job is not None
        if not self.free(work, job):
            self.reached("prune: passes over what another holds")
            return False
        self.put(work, job)  # locked from now on, also where it stays
        unique = ("unique", job.tenant, job.unique)
        if job.unique is not None and self.see(work, *unique) == job.id:
            if self.others(work, unique):
                self.reached("prune: passes over a job whose unique key another holds")
                return False
            work.changes[unique] = None
        work.changes["job", job.id] = None
        for key in (("result", job.id), ("request", job.id)):
            if self.see(work, *key) and not self.others(work, key):
                work.changes[key] = None
        self.reached(f"prune: {job.state}")
        return True

    def _prune_result(self, work: Work, one: Due) -> bool:
        job = self.job(work, one.job)
        assert job is not None
        if not self.free(work, job):
            return False
        self.put(work, job)  # locked, so that nobody else prunes it with its result meanwhile
        work.changes[one.key] = None
        self.reached("prune: a result")
        return True

    def _prune_key(self, work: Work, one: Due) -> bool:
        if self.others(work, one.key):
            return False
        work.changes[one.key] = None
        self.reached("prune: an idempotency key")
        return True

    # -- a tenant's hand ---------------------------------------------------------------------------

    def own(self, work: Work, job_id: uuid.UUID, tenant: str) -> Job | None:
        job = self.job(work, job_id)
        return job if job and job.tenant == tenant else None

    def cancel(self, work: Work, job: Job, told: bool) -> None:
        """`told`: the run was seen going on before a wait for another's request, so that its end is too late."""
        if job.lease or told:
            if self.see(work, "request", job.id) is None:
                work.changes["request", job.id] = (job.tenant, self.now)
            self.reached("cancel: running" if job.lease else "cancel: the run ended meanwhile")
        elif job.state in WAITING:
            self.put(work, replace(job, state="canceled", since=(self.now, self.now)))
            self.reached(f"cancel: {job.state}")
        else:
            self.reached("cancel: ended")

    def retry(self, work: Work, job: Job) -> bool:
        if job.state not in {"dead", "canceled"} or self.take_unique(work, job):
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
        job_id, at = fact
        yield ("key", job_id, name, None, None, None, at, None, None, None, rest[0])
    elif kind == "unique":
        yield ("unique", fact, name, None, None, None, None, None, None, None, rest[0])
    elif kind == "result":
        tenant, value = fact
        yield ("result", name, tenant, value, None, None, None, None, None, None, None)
    elif kind == "walk":
        behind, at = fact
        yield ("walk", behind, None, None, None, None, at, None, None, None, name)
    elif kind == "request":
        tenant, at = fact
        yield ("request", name, tenant, None, None, None, at, None, None, None, None)
    elif kind == "worker":
        yield ("worker", None, None, None, None, None, fact, None, None, name, None)
    elif kind == "effect":
        yield ("effect", fact, None, None, None, None, None, None, name, None, None)


def _job_facts(job: Job) -> Iterator[Fact]:
    fixed = (job.max_attempts, job.priority, job.payload, job.created_at, job.run_at, None, None, job.queue)
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
