"""The parts of the smoke test: each does what an application or a worker does, and looks what became of it."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from jobforge_sa.context import Context
from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.errors import JobNotFound, TenantError
from jobforge_sa.models import Job
from jobforge_sa.ops import database, times
from jobforge_sa.ops.reader import administering
from jobforge_sa.ops.smoke.ground import SILENT, Broken, Ground, Skipped
from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.tenants import Tenants
from jobforge_sa.types import Delays, JobState

HOUR = dt.timedelta(hours=1)  # nobody shall take it


class Undone(Exception):
    """Rolls back what the smoke test has enqueued."""


def expect(fact: object, otherwise: str) -> None:
    """Raise where something is not so.

    Raises:
        Broken: it is not.
    """
    if not fact:
        raise Broken(otherwise)


class Steps:
    """The parts, in their order."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.worker_forge, self._by_hand = JobForge(), JobForge()
        self._flaky, self._lost = _tasks(self.worker_forge, ground.queue)
        self._held = _task_by_hand(self._by_hand, ground.queue)
        self._victim: uuid.UUID | None = None

    def all(self) -> list[tuple[str, Callable[[], str]]]:
        """Their names, and what does them."""
        return [
            ("enqueue", self.enqueue), ("isolation", self.isolation), ("cancel", self.cancel), ("claim", self.claim),
            ("pause", self.pause), ("run", self.run), ("rescue", self.rescue),
        ]  # fmt: skip

    def enqueue(self) -> str:
        """A job exists if and only if its transaction commits; a key makes two of them one."""
        ground = self._ground
        kept = self._new(self._held, delay=HOUR, idempotency_key="smoke")
        expect(ground.job(kept).state == JobState.SCHEDULED, f"the job {kept} was committed and is not scheduled")
        expect(self._new(self._held, delay=HOUR, idempotency_key="smoke") == kept, "one key made two jobs")
        undone: list[uuid.UUID] = []
        try:
            with ground.jobs(ground.ours) as (jobs, _):
                undone.append(jobs.enqueue(self._held, {}).id)
                raise Undone
        except Undone:
            pass
        expect(not self._sees(ground.ours, undone[0]), f"the job {undone[0]} was rolled back and is there")
        return "committed: there; rolled back: absent; the same key: the same job"

    def isolation(self) -> str:
        """Another tenant, and nobody, see and change nothing of it."""
        ground = self._ground
        job_id = self._new(self._held, delay=HOUR)
        expect(not self._sees(ground.other, job_id), "another tenant sees the job by get_job")
        expect(not self._does(ground.other, Jobs.cancel, job_id), "another tenant cancels the job")
        with ground.jobs(ground.other) as (jobs, session):
            expect(not jobs.list().jobs, "another tenant sees a job by list_jobs")
            # jobs.list has set the tenant for this transaction: what is bound now are the policies
            expect(not session.scalars(select(Job.id)).all(), "another tenant sees a job by select")
        with database.translated(ground.app, "jobforge_app"), Session(ground.app) as session:
            expect(
                not session.scalars(select(Job.id).where(Job.id == job_id)).all(), "who names no tenant sees the job"
            )
        if ground.signed:
            expect(not self._sees(ground.ours, job_id, plain=True), "who names our tenant without a token sees the job")
        expect(ground.job(job_id).state == JobState.SCHEDULED, "the job was changed by another tenant")
        if not ground.bound:
            raise Skipped(
                "functions and views keep tenants apart, but no policy binds this login",
                "--url of a login that is no superuser and has no BYPASSRLS: grant jobforge_app to ...;",
            )
        return (
            "another tenant sees nothing by select, list_jobs and get_job, cancels nothing; without a tenant: nothing"
        )

    def cancel(self) -> str:
        """What waits is canceled at once."""
        ground = self._ground
        job_id = self._new(self._held, delay=HOUR)
        with ground.jobs(ground.ours) as (jobs, _):
            jobs.cancel(job_id)
        expect(ground.job(job_id).state == JobState.CANCELED, f"the job {job_id} was canceled and is not")
        return "a waiting job is canceled"

    def claim(self) -> str:
        """One lease for a job; an old token ends nothing; a completion that is told twice counts once."""
        ground = self._ground
        ground.require_worker()
        job_id = self._new(self._held)
        first = self._claimed(job_id)
        expect(not ground.claim(self._held.name), "a job was claimed twice")
        self._answers(ground.complete(job_id, first, "released"), "done", "giving a job back")
        second = self._claimed(job_id)
        self._answers(ground.complete(job_id, first, "succeeded"), "lost", "a completion with the old token")
        expect(ground.job(job_id).state == JobState.RUNNING, "an old token ended a run")
        self._answers(ground.complete(job_id, second, "succeeded"), "done", "a completion")
        self._answers(ground.complete(job_id, second, "succeeded"), "already_done", "the same completion again")
        expect(ground.job(job_id).state == JobState.SUCCEEDED, "the job was completed and has not succeeded")
        # for the rescue: claimed with the shortest lease, and never heard of again
        victim = self._new(self._lost)
        claimed = [row.job_id for row in ground.claim(self._lost.name, silent=True)]
        expect(claimed == [victim], "a claim misses its job")
        self._victim = victim
        return "one lease for a job; the old token is refused; a completion told twice counts once"

    def pause(self) -> str:
        """Of a paused tenant nothing is claimed."""
        ground = self._ground
        ground.require_worker()
        ground.require_admin()
        with administering(ground.admin) as session:
            Tenants(session).pause(ground.ours)
        job_id = self._new(self._held)
        claimed = ground.claim(self._held.name)
        with administering(ground.admin) as session:
            Tenants(session).resume(ground.ours)
        expect(not claimed, "a job of a paused tenant was claimed")
        self._answers(ground.complete(job_id, self._claimed(job_id), "succeeded"), "done", "a completion")
        return "a paused tenant's job waits, and is claimed when it is resumed"

    def run(self) -> str:
        """A worker runs a job: the first attempt fails, the second commits a result and a follow-up."""
        ground = self._ground
        ground.require_worker()
        job = ground.ended(self._new(self._flaky))
        outcomes = ground.outcomes(job.id)
        expect(outcomes == ["failed", "succeeded"], f"a run should fail, one succeed; {ground.standing(job.id)}")
        expect(job.result == {"attempt": 2}, f"the result {job.result!r} is not what the handler returned")
        with ground.jobs(ground.ours) as (jobs, _):
            children = [one.id for one in jobs.list(type=FOLLOW).jobs if one.parent_id == job.id]
        expect(len(children) == 1, f"the handler enqueued one job, and there are {len(children)}")
        expect(ground.ended(children[0]).state == JobState.SUCCEEDED, "the follow-up has not succeeded")
        return "failed, retried, succeeded with its result; what its session enqueued ran too"

    def rescue(self) -> str:
        """What a dead worker held runs again."""
        ground = self._ground
        ground.require_worker()
        if self._victim is None:
            raise Skipped("nothing was claimed that could be lost", "cure what failed before")
        job = ground.ended(self._victim)
        outcomes = ground.outcomes(job.id)
        expect(outcomes == ["lost", "succeeded"], f"a run should be lost, one succeed; {ground.standing(job.id)}")
        expect(job.attempt == 1, f"a lost run was charged: attempt {job.attempt}")
        return f"a lease of {times.span(SILENT)} whose worker was silent was taken back, and the job ran"

    # -- how ---------------------------------------------------------------------------

    def _new(self, task: Task[Any, Any], **options: Any) -> uuid.UUID:
        with self._ground.jobs(self._ground.ours) as (jobs, _):
            return jobs.enqueue(task, {}, **options).id

    def _sees(self, tenant: str, job_id: uuid.UUID, *, plain: bool = False) -> bool:
        return self._does(tenant, Jobs.get, job_id, plain=plain)

    def _does(
        self, tenant: str, what: Callable[[Jobs, uuid.UUID], object], job_id: uuid.UUID, *, plain: bool = False
    ) -> bool:
        try:
            with self._ground.jobs(tenant, plain=plain) as (jobs, _):
                what(jobs, job_id)
        except JobNotFound:
            return False
        except TenantError:
            if plain:
                return False
            raise
        return True

    def _claimed(self, job_id: uuid.UUID) -> uuid.UUID:
        tokens = {row.job_id: row.lease_token for row in self._ground.claim(self._held.name)}
        expect(list(tokens) == [job_id], f"a claim of the job {job_id} gave {[str(one) for one in tokens]}")
        token: uuid.UUID = tokens[job_id]
        return token

    def _answers(self, answer: str, wanted: str, what: str) -> None:
        expect(answer == wanted, f"{what} was answered {answer}, not {wanted}")


FOLLOW = "jobforge.smoke.follow"

AnyTask = Task[Any, Any]


def _tasks(forge: JobForge, queue: str) -> tuple[AnyTask, AnyTask]:
    """What the worker runs."""

    @forge.task(FOLLOW, queue=queue)
    def follow(_ctx: Context, _payload: dict[str, Any]) -> None: ...

    @forge.task("jobforge.smoke.flaky", queue=queue, max_attempts=3, retry=Delays(dt.timedelta(0)))
    def flaky(ctx: Context, _payload: dict[str, Any]) -> dict[str, int]:
        if ctx.job.attempt == 1:
            raise RuntimeError("the first attempt of the smoke test fails on purpose")
        Jobs(ctx.session).enqueue(follow, {})
        return {"attempt": ctx.job.attempt}

    @forge.task("jobforge.smoke.lost", queue=queue)
    def lost(_ctx: Context, _payload: dict[str, Any]) -> None: ...

    return flaky, lost


def _task_by_hand(forge: JobForge, queue: str) -> AnyTask:
    """What no worker knows but the one by hand."""

    @forge.task("jobforge.smoke.held", queue=queue)
    def held(_ctx: Context, _payload: dict[str, Any]) -> None: ...

    return held
