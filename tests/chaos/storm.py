"""A storm from its start to its ledger: the crew works, the monkey breaks, then all comes to rest and is judged."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from tests.chaos import facts, ledger, rules
from tests.chaos.arena import Arena
from tests.chaos.crew import Crew
from tests.chaos.monkey import Monkey

TICK = 0.05  # seconds
LOOK = 2.0  # seconds between two looks at how far it is
DONE = "select count(*) as count from jobforge.outcomes"
PATIENCE = 10  # times `drain`, for what moves and moves and never ends
LEFT = """select (select count(*) from jobforge.ready) + (select count(*) from jobforge.scheduled)
               + (select count(*) from jobforge.leases) + (select count(*) from jobforge.cancel_requests) as count"""


@dataclass(frozen=True)
class Plan:
    """How it shall be."""

    seconds: float
    seed: int
    workers: int = 4
    rate: float = 8.0  # transactions a second of each tenant
    drain: float = 60.0  # seconds without the end of a single job, afterwards: then what is left is stuck
    durable: bool = False
    only: frozenset[str] | None = None  # faults; default all


@dataclass(frozen=True)
class Progress:
    """How far it is."""

    phase: str
    left: float  # seconds
    done: int  # jobs
    counts: Counter[str]


@dataclass(frozen=True)
class Result:
    """What it has come to."""

    plan: Plan
    scene: rules.Scene
    broken: dict[str, list[str]]  # by rule
    faults: Counter[str]
    ends: Counter[str]  # of processes
    took: float
    folder: str  # of the ledgers and logs; kept where a rule is broken

    @property
    def sound(self) -> bool:
        return not any(self.broken.values())


class Storm:
    """One run. Everything that it starts ends with it."""

    def __init__(self, plan: Plan, tell: Callable[[Progress], None]) -> None:
        self._plan, self._tell = plan, tell
        self._done = 0
        self._looked = 0.0

    def run(self) -> Result:
        start = time.monotonic()
        with Arena(self._plan.seed, durable=self._plan.durable) as arena:
            crew = Crew(arena, self._plan.seed, self._plan.workers, self._plan.rate)
            try:
                monkey = Monkey(arena, crew, self._plan.seed, self._plan.seconds,
                                only=set(self._plan.only) if self._plan.only else None)  # fmt: skip
                self._blow(arena, crew, monkey)
                complaints = self._settle(arena, crew, monkey)
            finally:
                crew.end()
            scene = rules.Scene(facts.gather(arena), ledger.read(arena.folder), crew.poisoned, complaints)
            broken = rules.judge(scene)
            if any(broken.values()):
                arena.keep()
            lost = arena.workers_way.counts + arena.enqueuers_way.counts
            took = time.monotonic() - start
            return Result(self._plan, scene, broken, monkey.counts + lost, crew.ends, took, str(arena.folder))

    def _blow(self, arena: Arena, crew: Crew, monkey: Monkey) -> None:
        end = time.monotonic() + self._plan.seconds
        while time.monotonic() < end:
            crew.tend()
            monkey.play()
            self._show(arena, "storm", end, monkey.counts)
            time.sleep(TICK)

    def _settle(self, arena: Arena, crew: Crew, monkey: Monkey) -> list[str]:
        """No more faults and no more jobs; give which processes did not end as they should."""
        monkey.peace()
        complaints = crew.dismiss("enqueuer", 20)
        end = time.monotonic() + self._plan.drain
        last, ended = time.monotonic() + self._plan.drain * PATIENCE, self._done
        while time.monotonic() < min(end, last) and self._count(arena, LEFT) != 0:
            crew.tend()
            self._show(arena, "drain", end, monkey.counts)
            if self._done > ended:  # a long storm leaves a long backlog, which is not stuck while it gets shorter
                end, ended = time.monotonic() + self._plan.drain, self._done
            time.sleep(TICK * 4)
        return [*complaints, *crew.dismiss("worker", 20), *crew.odd, *crew.errors()]

    def _show(self, arena: Arena, phase: str, end: float, counts: Counter[str]) -> None:
        now = time.monotonic()
        if now - self._looked > LOOK:
            self._looked = now
            self._done = max(self._done, self._count(arena, DONE))
            self._tell(Progress(phase, max(0.0, end - now), self._done, counts))

    @staticmethod
    def _count(arena: Arena, query: str) -> int:
        with contextlib.suppress(psycopg.Error):  # the server is restarting
            return int(arena.look(query)[0]["count"])
        return -1
