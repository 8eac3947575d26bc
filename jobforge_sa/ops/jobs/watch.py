"""Jobs followed until they end: looked at when the bell rings, and from time to time; an outage is waited out."""

from __future__ import annotations

import datetime as dt
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from jobforge_sa.db import calls
from jobforge_sa.enqueue.answers import info, unknown
from jobforge_sa.ops import database
from jobforge_sa.ops.jobs import listing as job_list
from jobforge_sa.ops.jobs.listing import History
from jobforge_sa.ops.reader import Reader
from jobforge_sa.results.bell import bell_of
from jobforge_sa.results.glance import Glance
from jobforge_sa.results.look import FIRST, LONGEST, MOST, OPTIONS, REGISTERED, unanswered
from jobforge_sa.types import FINAL, JobInfo, JobPage, JobState
from jobforge_sa.worker.link import backoff, in_brief


@dataclass(frozen=True, slots=True)
class Seen:
    """The jobs as one look found them."""

    jobs: Mapping[uuid.UUID, JobInfo]
    told: Mapping[uuid.UUID, History]
    now: dt.datetime


class Watch:
    """A look at some jobs, again and again.

    Args:
        engine: Where they are.
        tenant: Whose, for a login that sees one tenant's only.
        job_ids: Which.
        timeout: Seconds; None: as long as it takes.
        say: Told when the database does not answer, and when it does again.
    """

    def __init__(
        self, engine: Engine, tenant: str | None, job_ids: Sequence[uuid.UUID], timeout: float | None,
        say: Callable[[str], object],
    ) -> None:  # fmt: skip
        self._engine, self._looks = engine, engine.execution_options(**OPTIONS)
        self._tenant, self._ids, self._say = tenant, list(dict.fromkeys(job_ids)), say
        self._deadline = math.inf if timeout is None else time.monotonic() + timeout
        self._jobs: dict[uuid.UUID, JobInfo] = {}
        self._failures = 0  # looks in a row without an answer

    @property
    def states(self) -> list[JobState]:
        """Where the jobs stand, as far as they were seen."""
        return [job.state for job in self._jobs.values()]

    @property
    def ended(self) -> bool:
        """Whether all have."""
        return bool(self._jobs) and FINAL.issuperset(self.states)

    def looks(self) -> Iterator[Seen]:
        """What each look finds, until all jobs have ended or the time is up.

        Raises:
            JobForgeError: as `reading` does; a server that goes away after the first look is waited for.
        """
        with database.translated(self._engine, "jobforge_app"):
            yield Glance(self._looks, self).answer()
            rung = threading.Event()
            with bell_of(self._engine).heard(rung.set):
                pause = FIRST
                while not self.ended and (left := self._deadline - time.monotonic()) > 0:
                    rung.wait(min(left, backoff(self._failures) if self._failures else pause))
                    rung.clear()
                    pause = min(pause * 2, LONGEST)
                    if (seen := self._seen()) is not None:
                        yield seen

    def _seen(self) -> Seen | None:
        try:
            seen = Glance(self._looks, self).answer()
        except Exception as error:
            if not unanswered(error):
                raise
            if not self._failures:
                self._say(f"no answer: {in_brief(error)}; looking until there is one")
            self._failures += 1
            return None
        if self._failures:
            self._say("the database answers again")
        self._failures = 0
        return seen

    # -- one look, in a thread of its own: see `Glance` ---------------------------------

    def limit(self) -> float:
        """Seconds that the look has which begins now."""
        return MOST

    def look(self, connection: Connection) -> Seen:
        """Look at all of them."""
        connection.execute(calls.LIMIT, {"limit": f"{MOST * 1000:.0f} ms"})
        reader = Reader(Session(connection), self._tenant)
        found = {job_id: self._job(reader, job_id) for job_id in self._ids}
        told = job_list.histories(reader, JobPage(list(found.values()), None))
        self._jobs = found
        return Seen(found, told, reader.now)

    def _job(self, reader: Reader, job_id: uuid.UUID) -> JobInfo:
        """The job; from the second look on, when its tenant is known, its end will be told."""
        before = self._jobs.get(job_id)
        if before is None:
            return reader.job(job_id)
        if before.state in FINAL:
            return before
        if reader.sees_all:
            reader.session.execute(calls.ACT_FOR, {"tenant_id": before.tenant_id})
        rows = reader.rows(calls.AWAIT_JOB, job_id=job_id, **{"for": dt.timedelta(seconds=REGISTERED)})
        if not rows:
            raise unknown(job_id)
        return info(rows[0])
