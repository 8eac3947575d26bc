"""The small words of the library: states, outcomes, retry policies, what calls return."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Mapping[str, "Json"] | Sequence["Json"] | str | int | float | bool | None


class JobState(enum.StrEnum):
    """Where a job stands. Every job is in exactly one of them."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    DEAD = "dead"
    CANCELED = "canceled"


FINAL = frozenset({JobState.SUCCEEDED, JobState.DEAD, JobState.CANCELED})


class Outcome(Exception):  # raised, it ends the run from any depth
    """How a run ended, other than by plain success or failure.

    A handler returns an outcome, and what its session wrote is committed with it; or it raises one, and what its
    session wrote is rolled back. (The idea of outcomes as values: Oban.)
    """


class Done(Outcome):
    """The job succeeded; `result` is stored. Returning the bare value says the same."""

    def __init__(self, result: object = None) -> None:
        super().__init__()
        self.result = result


class Retry(Outcome):
    """The attempt failed; try again, `after` a while of the handler's choice or by the job's retry policy."""

    def __init__(self, reason: str = "", *, after: dt.timedelta | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Snooze(Outcome):
    """Not now: run again after `delay`. The attempt is not charged."""

    def __init__(self, delay: dt.timedelta) -> None:
        super().__init__()
        self.delay = delay


class Discard(Outcome):
    """The attempt failed and no retry can cure it: the job is dead."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


class Cancel(Outcome):
    """There is nothing to do any more: the job is canceled."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


class TimedOut(Outcome):
    """The handler ran longer than its timeout. `Context.check` raises it."""


class Release(Outcome):
    """Give the job back to its queue, uncharged, for any worker to take. `Context.check` raises it on a shutdown."""


@dataclass(frozen=True, slots=True)
class Exponential:
    """Wait `base`, then `factor` times as long after each failure, at most `max`; plus up to `jitter` of it by chance.

    The defaults are the database's: 1, 2, 4 ... 3600 seconds, without jitter.
    """

    base: dt.timedelta = dt.timedelta(seconds=1)
    factor: float = 2.0
    max: dt.timedelta = dt.timedelta(hours=1)
    jitter: float = 0.0

    def to_json(self) -> dict[str, Json]:
        """The policy as `enqueue_job` takes it, in seconds."""
        return {
            "base": self.base.total_seconds(),
            "factor": self.factor,
            "max": self.max.total_seconds(),
            "jitter": self.jitter,
        }


@dataclass(frozen=True, slots=True, init=False)
class Delays:
    """Wait these times after the first, second ... failure; the last one holds for all later ones."""

    delays: tuple[dt.timedelta, ...]

    def __init__(self, *delays: dt.timedelta) -> None:
        object.__setattr__(self, "delays", delays)

    def to_json(self) -> dict[str, Json]:
        """The policy as `enqueue_job` takes it, in seconds."""
        return {"delays": [delay.total_seconds() for delay in self.delays]}


RetryPolicy: TypeAlias = Exponential | Delays
OnDuplicate: TypeAlias = Literal["keep", "replace", "merge"]


@dataclass(frozen=True, slots=True)
class Enqueued:
    """What an enqueue says: the job's id, and whether this call created it.

    `created` is False where an earlier job has the same tenant, type and idempotency key, or an active one the same
    unique key: `id` is that job's then, and `payload_differs` says whether it was asked to do something else.
    """

    id: uuid.UUID
    created: bool
    payload_differs: bool


@dataclass(frozen=True, slots=True)
class JobInfo:
    """A job as it is now: what was asked, and where it stands."""

    id: uuid.UUID
    tenant_id: str
    queue: str
    type: str
    priority: int
    payload: dict[str, Any]
    run_at: dt.datetime
    max_attempts: int
    timeout: dt.timedelta | None
    retry: dict[str, Any] | None
    idempotency_key: str | None
    unique_key: str | None
    ordering_key: str | None
    subject: str | None
    parent_id: uuid.UUID | None
    cause: str | None
    trace: dict[str, str] | None
    created_at: dt.datetime
    state: JobState
    run: int
    attempt: int
    crashes: int
    due_at: dt.datetime | None
    worker_id: uuid.UUID | None
    claimed_at: dt.datetime | None
    deadline: dt.datetime | None
    finished_at: dt.datetime | None
    result: Any


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a job does not run, or how it came to its end: a code for programs, a sentence for people, and its facts."""

    code: str
    says: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a bulk call did. Commit, and pass `cursor` to the next; None: there are no more."""

    changed: int
    skipped: int  # moved meanwhile, or somebody holds them, or over_quota
    cursor: uuid.UUID | None
    over_quota: int = 0  # of a retry over all tenants: their tenants have as many waiting jobs as they may


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of jobs, newest first. Pass `cursor` to get the next; None: this was the last."""

    jobs: Sequence[JobInfo]
    cursor: uuid.UUID | None
