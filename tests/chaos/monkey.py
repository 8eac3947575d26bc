"""What breaks things: a list of faults, each at times of its own that come from the seed."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

import psycopg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, Tenants, bind_tenant
from jobforge_sa.errors import JobForgeError, JobNotFound, WrongState
from tests.chaos.arena import TENANTS, Arena
from tests.chaos.crew import Crew, Member
from tests.chaos.enqueuer import ORDER
from tests.chaos.errands import LEASE, Errand, poison
from tests.chaos.ledger import COMMITTED, Ledger

BACKENDS = "select pid from pg_stat_activity where usename in ('jf_app', 'jf_worker') order by random() limit %s"
UNENDED = """
select j.id, j.tenant_id from jobforge.jobs j
 where j.type <> 'poison' and not exists (select from jobforge.outcomes o where o.job_id = j.id)
 order by random() limit %s"""
CANCELED = "select job_id, tenant_id from jobforge.outcomes where state = 'canceled' order by random() limit 1"
NOW = sa.text("select jobforge.now()")
LAST_POISON = 0.6  # of the time: one that comes late needs half a minute to die


class Monkey:
    """Plays its faults when they are due. All from the thread that calls `play`."""

    def __init__(self, arena: Arena, crew: Crew, seed: int, seconds: float, *, only: set[str] | None = None) -> None:
        self._arena, self._crew = arena, crew
        self._chance = random.Random(f"{seed} monkey")
        self._ledger = Ledger(arena.folder, "monkey")
        self._app, self._admin = arena.engine("jf_app"), arena.engine("jf_admin")
        self._start, self._seconds = time.monotonic(), seconds
        self._poisons = 0
        self._paused: dict[str, str] = {}  # tenant, and the database's time when that was committed
        self.counts: Counter[str] = Counter()
        acts: dict[str, tuple[float, Callable[[], object]]] = {  # and the mean seconds between two
            "kills": (4, self._kill),
            "freezes": (12, self._freeze),
            "backends terminated": (5, self._terminate),
            "backends killed": (60, self._crash),
            "immediate restarts": (30, lambda: arena.server.restart(immediate=True)),
            "fast restarts": (45, arena.server.restart),
            "cuts": (10, self._cut),
            "black holes": (25, self._swallow),
            "half-open": (45, arena.workers_way.kill_silently),
            "cancels": (1.5, self._cancel),
            "retries": (8, self._retry),
            "pauses": (15, self._pause),
            "enqueuers killed": (15, self._kill_enqueuer),
            "poisons": (40, self._poison),
        }
        self._acts = {name: act for name, act in acts.items() if only is None or name in only}
        self._order = itertools.count()
        self._due: list[tuple[float, int, str]] = []
        self._later: list[tuple[float, int, Callable[[], object]]] = []
        for name, (mean, _) in self._acts.items():  # each at least once, also in a short storm
            first = 1.0 if name == "poisons" else self._chance.uniform(0.1, 0.7) * min(mean * 2, seconds)
            heapq.heappush(self._due, (self._start + first, next(self._order), name))

    def play(self) -> None:
        """Do what is due."""
        while self._later and self._later[0][0] <= time.monotonic():
            self._safely(heapq.heappop(self._later)[2])
        if self._due and self._due[0][0] <= time.monotonic():
            _, _, name = heapq.heappop(self._due)
            mean, act = self._acts[name]
            if self._safely(act):
                self.counts[name] += 1
            again = time.monotonic() + self._chance.uniform(0.3, 1.7) * mean
            heapq.heappush(self._due, (again, next(self._order), name))

    def peace(self) -> None:
        """Undo what can be undone."""
        for way in (self._arena.workers_way, self._arena.enqueuers_way):
            way.peace()
        self._crew.thaw_all()
        for tenant in list(self._paused):
            self._resume(tenant)
        self._later.clear()

    def _safely(self, act: Callable[[], object]) -> bool:
        """The monkey meets its own faults too: a server that it has just crashed answers nobody."""
        try:
            act()
        except _NotNow:
            return False
        except (psycopg.Error, DBAPIError) as error:
            if not isinstance(error, psycopg.OperationalError) and not isinstance(
                getattr(error, "orig", None), psycopg.OperationalError
            ):
                self._ledger.surprise(f"monkey: {error!r}")
            return False
        except JobForgeError as error:
            self._ledger.surprise(f"monkey: {error!r}")
            return False
        return True

    def _after(self, seconds: float, act: Callable[[], object]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._order), act))

    # -- processes ---------------------------------------------------------------------

    def _kill(self) -> None:
        self._crew.kill(self._one(self._crew.mortal("worker")))

    def _freeze(self) -> None:
        self._crew.freeze(self._one(self._crew.awake("worker")), 2 * LEASE.total_seconds())

    def _kill_enqueuer(self) -> None:
        self._crew.kill(self._one(self._crew.mortal("enqueuer")))

    def _one(self, members: list[Member]) -> Member:
        if not members:
            raise _NotNow
        return self._chance.choice(members)

    # -- server ------------------------------------------------------------------------

    def _terminate(self) -> None:
        for row in self._arena.look(BACKENDS, self._chance.randint(1, 8)):
            self._arena.look("select pg_terminate_backend(%s)", row["pid"])

    def _crash(self) -> None:
        """One backend gone by SIGKILL: the server takes all others with it, and recovers by itself."""
        for row in self._arena.look(BACKENDS, 1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(row["pid"], signal.SIGKILL)

    # -- wire --------------------------------------------------------------------------

    def _cut(self) -> None:
        self._chance.choice((self._arena.workers_way, self._arena.enqueuers_way)).cut()

    def _swallow(self) -> None:
        way = self._chance.choice((self._arena.workers_way, self._arena.workers_way, self._arena.enqueuers_way))
        way.swallow()
        self._after(self._chance.uniform(1, 2 * LEASE.total_seconds()), way.pass_on)

    # -- people ------------------------------------------------------------------------

    def _cancel(self) -> None:
        for row in self._arena.look(UNENDED, self._chance.randint(1, 3)):
            self._ledger.ask("canceled", str(row["id"]))
            with Session(self._app) as session, session.begin():
                bind_tenant(session, row["tenant_id"])
                with contextlib.suppress(JobNotFound):
                    Jobs(session).cancel(row["id"])

    def _retry(self) -> None:
        for row in self._arena.look(CANCELED):
            self._ledger.ask("retried", str(row["job_id"]))
            with Session(self._app) as session:
                bind_tenant(session, row["tenant_id"])
                with contextlib.suppress(WrongState), session.begin():
                    Jobs(session).retry(row["job_id"])

    def _pause(self) -> None:
        tenant = self._chance.choice(TENANTS)
        if tenant in self._paused:
            raise _NotNow
        with Session(self._admin) as session, session.begin():
            Tenants(session).pause(tenant)
        self._paused[tenant] = self._now()
        self._after(self._chance.uniform(2, 5), lambda: self._resume(tenant))

    def _resume(self, tenant: str) -> None:
        try:
            until = self._now()
            with Session(self._admin) as session, session.begin():
                Tenants(session).resume(tenant)
        except (psycopg.Error, DBAPIError):
            self._after(0.5, lambda: self._resume(tenant))
            raise
        self._ledger.paused(tenant, self._paused.pop(tenant), until)

    def _now(self) -> str:
        with self._admin.connect() as connection:
            return str(connection.scalar(NOW).isoformat())

    def _poison(self) -> None:
        if time.monotonic() - self._start > LAST_POISON * self._seconds and self._poisons:
            raise _NotNow
        mark, tenant = f"poison.{self._poisons}", self._chance.choice(TENANTS)
        self._poisons += 1
        self._ledger.mean(tenant, [(mark, "poison")])
        with Session(self._app) as session, session.begin():
            bind_tenant(session, tenant)
            session.execute(ORDER, {"mark": mark, "tenant": tenant})
            Jobs(session).enqueue(poison, Errand(mark=mark))
        self._ledger.tell(COMMITTED, [mark])


class _NotNow(Exception):
    """There is nobody whom this fault could hit."""
