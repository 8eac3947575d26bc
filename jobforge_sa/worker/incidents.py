"""What should not happen to a run, and does: for each a line in the log with the job's fields, and a number.

On the job's record it is the attempt, which the database writes.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jobforge_sa.context import ClaimedJob
from jobforge_sa.worker.counters import Counters
from jobforge_sa.worker.voice import log

if TYPE_CHECKING:
    from jobforge_sa.worker.run import Run


NAMED = 20  # jobs of one kind that are named at once; the rest are counted


class Incidents:
    """Writes and counts them, each once, however many threads notice it."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters

    def lost(self, run: Run) -> None:
        """Its lease is gone: it was taken for dead, or its deadline has passed, or its job was purged."""
        if not run.missed:
            run.missed = True
            self._count("lost", run.job, "its lease was lost, nothing of this run counts")

    def abandoned(self, run: Run) -> None:
        """Its handler ignores that it should stop, and cannot be killed."""
        self._count("abandoned", run.job, "ignores its timeout, its thread is left behind")

    def blocked(self, run: Run) -> None:
        """Its async handler could not begin."""
        self._warn(run.job, "is given back: another async handler blocks the event loop, and this one could not begin")

    def idle(self, run: Run, seconds: float, *, ended: bool) -> None:
        """Its handler's transaction is open and nothing is done with it: it holds its locks, and vacuum back."""
        what = f"its transaction has been open for {seconds:.1f} s without a statement"
        if ended:
            self._count("overstayed", run.job, f"{what}, and was ended")
        else:
            self._count("idle", run.job, f"{what}: commit or roll back before waiting for something else")

    def killed(self, run: Run) -> None:
        """Its handler ignored that it should stop; its process was killed."""
        self._count("killed", run.job, "did not stop when it was told, its process was killed")

    def died(self, run: Run, how: str) -> None:
        """The process of its handler died by itself."""
        self._count("died", run.job, f"its process died: {how}")

    def rescued(self, count: int, named: Sequence[Mapping[str, Any]]) -> None:
        """The upkeep took back what dead workers held, or what was past its deadline; the first are named."""
        self.counters.add("rescued", count)
        for job in named:
            why = "its worker was lost" if job["outcome"] == "lost" else "it was past its deadline"
            fields = {"job_id": str(job["job_id"]), "job_type": job["type"]}
            self._say(
                fields | {name: job[name] for name in ("tenant_id", "attempt", "run")}, f"{why}, the job was taken back"
            )
        log.warning("rescued %s jobs of dead workers or passed deadlines", count)

    def unheard(self, job_ids: Sequence[uuid.UUID]) -> None:
        """Claims were committed whose answers got lost: the database took the jobs back."""
        self.counters.add("unheard", len(job_ids))
        for job_id in job_ids[:NAMED]:
            log.warning(
                "job %s: the answer to its claim got lost, it is queued again", job_id, extra={"job_id": str(job_id)}
            )
        if len(job_ids) > NAMED:
            log.warning("so it was with %s more jobs", len(job_ids) - NAMED)

    def claimed(self, jobs: Sequence[ClaimedJob]) -> None:
        """Jobs were claimed: one that was lost with its worker before is worth a line."""
        self.counters.claimed([(job.queue, _wait(job)) for job in jobs])
        for job in jobs:
            if job.crashes:
                self._warn(job, f"was lost with its worker, {job.crashes} times so far, and runs again")

    def ended(self, ended: Sequence[tuple[Run, str]]) -> None:
        """The database knows how these runs ended: of each an outcome, or "lost"."""
        for run, outcome in ended:
            if outcome == "lost":
                self.lost(run)
        self.counters.ended([((run.job.queue, run.job.type, outcome), run.seconds) for run, outcome in ended])

    def _count(self, name: str, job: ClaimedJob, what: str) -> None:
        self.counters.add(name)
        self._warn(job, what)

    def _warn(self, job: ClaimedJob, what: str) -> None:
        self._say(job.log_fields(), what)

    @staticmethod
    def _say(fields: Mapping[str, Any], what: str) -> None:
        log.warning("job %s (%s) run %s: %s", fields["job_id"], fields["job_type"], fields["run"], what, extra=fields)


def _wait(job: ClaimedJob) -> float | None:
    """Seconds from due to claimed, by the database's clock; only of a first run, for `run_at` is when that was due."""
    return max((job.claimed_at - job.run_at).total_seconds(), 0.0) if job.run == 1 else None
