"""What administrators say of tenants, queues and tasks: paused, limited; in the caller's own transaction."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar

from jobforge_sa.admin import AdminCalls
from jobforge_sa.db import limit_calls
from jobforge_sa.db.calls import Call
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tasks import Task
from jobforge_sa.tenant import is_text

N = TypeVar("N", contravariant=True)  # how a tenant, a queue or a task is named

Scope: TypeAlias = Literal["tenant", "queue", "task"]
Whole: TypeAlias = int | EllipsisType | None  # a number; None: none any more; ...: as it is
Rate: TypeAlias = float | EllipsisType | None

# the least and the most that each may be
BOUNDS = {
    "max_running": (0, 1_000_000), "rate": (0.000_001, 1_000_000), "burst": (1, 1_000_000), "weight": (1, 100),
    "max_waiting": (0, 10_000_000),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limit:
    """What an administrator has said of a tenant, a queue or a task. None: nothing."""

    scope: str
    name: str
    paused_at: dt.datetime | None = None  # claims pass it over since then
    max_running: int | None = None  # so many of its jobs run at a time
    rate: float | None = None  # so many of its runs begin in a second,
    burst: int | None = None  # and so many at once after a while without
    weight: int | None = None  # of a tenant: so many times the share of one without
    max_waiting: int | None = None  # of a tenant: so many of its jobs may be scheduled or queued


@dataclass(frozen=True, slots=True)
class LimitInfo(Limit):
    """The same, and how much of it is used."""

    running: int = 0  # of its jobs
    bucket: float | None = None  # so many runs may begin now by the rate


class Limited(AdminCalls, Generic[N]):
    """What is said of each of a kind: what `Tenants`, `Queues` and `Tasks` have in common."""

    _calls: ClassVar[limit_calls.Limits]

    def pause(self, name: N) -> Limit:
        """Let claims give none of its jobs. What runs goes on; what is enqueued waits."""
        return self._said(self._calls.pause, self._name(name))

    def resume(self, name: N) -> Limit:
        """Let its jobs be claimed again, and wake the workers."""
        return self._said(self._calls.resume, self._name(name))

    def limit(self, name: N, *, max_running: Whole = ..., rate: Rate = ..., burst: Whole = ...) -> Limit:
        """Change its limits, for every claim that begins after the commit. What is left out stays, None takes away.

        Commit at once: until then claims pass over what had a limit before.

        Args:
            name: Of whom this is said.
            max_running: So many of its jobs run at a time, 0 to 1,000,000.
            rate: So many of its runs begin in a second, more than 0; 0.1 is one in ten seconds. Any one second sees at
                most rate + burst: up to twice the rate, where no burst is said.
            burst: So many runs may begin at once after a while without. Default: what comes in a second, one at least.
        """
        return self._limit(name, max_running=max_running, rate=rate, burst=burst)

    # -- how ---------------------------------------------------------------------------

    def _name(self, given: N) -> str:
        scope = self._calls.scope
        name = given.name if isinstance(given, Task) and scope == "task" else given
        if not isinstance(name, str):
            cure = "pass its name; of a task: Tasks(session)" if isinstance(name, Task) else "pass its name"
            raise ConfigurationError(f"a {scope} is named by a text, not by a {type(name).__name__}", cure=cure)
        if "\x00" in name or not is_text(name):
            raise ConfigurationError(f"{name[:50]!r} is no name for a {scope}", cure="pass its name as it was enqueued")
        return name

    def _limit(self, name: N, **given: float | EllipsisType | None) -> Limit:
        change = {key: _checked(key, value) for key, value in given.items() if not isinstance(value, EllipsisType)}
        if not change:
            raise ConfigurationError("no limit is named", cure="pass one: max_running=5; None takes it away")
        return self._said(self._calls.limit, self._name(name), change=json.dumps(change))

    def _said(self, call: Call, name: str, **values: object) -> Limit:
        rows = self._rows(call, **{next(iter(call.arguments)): name}, **values)
        return Limit(*rows[0]) if rows else Limit(self._calls.scope, name)


class Tasks(Limited[str | Task[Any, Any]]):
    """What is said of tasks, each named by itself or by its name, in a database; of all tenants. Never commits.

    Every method may raise what those of `Tenants` do.

    Example:
        >>> with Session(engine) as session, session.begin():
        ...     Tasks(session).limit("call_the_bank", max_running=3, rate=10)
    """

    _calls = limit_calls.TASK_LIMITS


class Limits(AdminCalls):
    """All that is said of tenants, queues and tasks. Every method may raise what those of `Tenants` do."""

    def list(self, scope: Scope | None = None) -> Sequence[LimitInfo]:
        """Who is paused or limited, by scope and name, and how many of its jobs run now."""
        return [LimitInfo(*row) for row in self._rows(limit_calls.LIST_LIMITS, scope=scope)]


def _checked(key: str, value: object) -> float | None:
    least, most = BOUNDS[key]
    if value is None:
        return None
    whole = key != "rate"
    right = isinstance(value, int) or (not whole and isinstance(value, float) and math.isfinite(value))
    if isinstance(value, bool) or not right or not least <= value <= most:  # type: ignore[operator]  # a number by now
        kind = "a whole number of" if whole else "a number of runs a second,"
        pass_ = "an int" if whole else "an int or a float of runs in a second: 90 a minute is rate=90/60"
        raise ConfigurationError(
            f"{key} is {kind} {format(least, ',' if whole else ',f')} to {most:,}, not {value!r}",
            cure=f"pass {pass_}; None takes it away, ... leaves it as it is",
        )
    return value  # type: ignore[return-value]
