"""The smoke test: its parts one by one, then everything that it made is taken away, whatever happened."""

from __future__ import annotations

import datetime as dt
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from jobforge_sa.errors import AccessDenied, JobForgeError, SecurityWarning
from jobforge_sa.ops.reader import administering
from jobforge_sa.ops.smoke.ground import Broken, Ground, Skipped
from jobforge_sa.ops.smoke.steps import Steps, expect
from jobforge_sa.queues import Queues
from jobforge_sa.tenants import Tenants
from jobforge_sa.types import FINAL
from jobforge_sa.worker.worker import Worker

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"
LEASE = dt.timedelta(seconds=1)  # its upkeep rescues after one of them
GRACE = 5.0  # seconds for its handlers, which have nothing to do


@dataclass(frozen=True, slots=True)
class Step:
    """A part, and what became of it."""

    step: str
    status: str
    seconds: float
    says: str
    cure: str | None = None


class Smoke:
    """One smoke test."""

    def __init__(self, ground: Ground) -> None:
        self._ground, self._steps = ground, Steps(ground)
        self._worker: Worker | None = None
        self.steps: list[Step] = []

    @property
    def status(self) -> int:
        """The exit status."""
        found = {step.status for step in self.steps}
        return 1 if FAILED in found else 3 if SKIPPED in found else 0

    def run(self, report: Callable[[Step], object]) -> None:
        """Do it, and tell of each part when it is over.

        Raises:
            JobForgeError: it cannot be begun. KeyboardInterrupt: after the clean-up.
        """

        def do(name: str, what: Callable[[], str]) -> None:
            self.steps.append(_done(name, what))
            report(self.steps[-1])

        with _quiet(self._ground.heard):
            began = time.monotonic()
            on = self._ground.begin()
            self.steps.append(Step("schema", PASSED, time.monotonic() - began, on))
            report(self.steps[-1])
            try:
                for name, what in self._steps.all():
                    do(name, lambda name=name, what=what: self._with_worker(name, what))  # type: ignore[misc]
            finally:
                do("clean-up", self._clean_up)

    def _with_worker(self, name: str, what: Callable[[], str]) -> str:
        """From `run` on there is a worker; it comes late, so that the claims by hand get what they want."""
        if name == "run":
            ground = self._ground
            ground.require_worker()
            worker = Worker(
                ground.worker, self._steps.worker_forge, concurrency=2, lease=LEASE, session_engine=ground.app,
                poll=dt.timedelta(milliseconds=200),
            )  # fmt: skip
            self._worker = worker.start()
        return what()

    def _clean_up(self) -> str:
        """Leave nothing behind, as far as the logins may."""
        ground = self._ground
        if self._worker is not None:
            self._worker.stop(GRACE)
        try:
            ground.require_admin()
        except Skipped as why:
            raise Skipped(f"{why}: {self._cancel_all()}", why.cure) from why
        for tenant in (ground.ours, ground.other):
            self._purge(tenant)
        self._forget_workers()
        return "both tenants are purged, and nothing of them is left"

    def _purge(self, tenant: str) -> None:
        """Delete all of a tenant's; it need not be paused, for nobody enqueues any more."""
        met = 1
        while met:
            with administering(self._ground.admin) as session:
                met = Tenants(session).purge(tenant)
        with administering(self._ground.admin) as session:
            behind = Tenants(session).count(tenant)
        expect(behind.empty, f"of the tenant {tenant} there is left: {dict(behind.rows)}")

    def _forget_workers(self) -> None:
        """A worker whose leases were purged has not gone when it took leave."""
        ground = self._ground
        ours = {ground.by_hand, ground.silent, *([self._worker.id] if self._worker is not None else [])}
        try:
            ground.require_worker()
        except (Skipped, AccessDenied):
            return  # and so there was none
        for worker in ours:
            ground.take_leave(worker)
        with administering(ground.admin) as session:
            left = [str(one.id) for one in Queues(session).workers() if one.id in ours]
        expect(not left, f"the workers {left} have taken leave, and are still there")

    def _cancel_all(self) -> str:
        """What a tenant itself can do: nothing of it waits any more, but it stays on record."""
        ground = self._ground
        with ground.jobs(ground.ours) as (jobs, _):
            found = jobs.list(limit=1000).jobs
            for job in found:
                if job.state not in FINAL:
                    jobs.cancel(job.id)
        purge = f"jobforge tenants purge {ground.ours}"
        return f"{len(found)} jobs of {ground.ours} stay until their retention ends, or: {purge}"


def _done(name: str, what: Callable[[], str]) -> Step:
    began = time.monotonic()
    try:
        status, says, cure = PASSED, what(), None
    except Skipped as why:
        status, says, cure = SKIPPED, str(why), why.cure
    except JobForgeError as error:
        status, says, cure = FAILED, error.message, error.cure
    except Broken as broken:
        status, says, cure = FAILED, str(broken), None
    except Exception as error:  # whatever it is, the clean-up comes
        status, says, cure = FAILED, f"{type(error).__name__}: {error}", None
    return Step(name, status, time.monotonic() - began, says, cure)


class _Ear(logging.Handler):
    """Keeps what the worker complains of, for whoever says why a job has not ended."""

    def __init__(self, heard: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self._heard.append(record.getMessage())


@contextmanager
def _quiet(heard: list[str]) -> Iterator[None]:
    """Without the worker's log, and without warnings of what a part of the test tells."""
    log = logging.getLogger("jobforge_sa")
    ear, before = _Ear(heard), log.propagate
    log.addHandler(ear)
    log.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            yield
    finally:
        log.removeHandler(ear)
        log.propagate = before
