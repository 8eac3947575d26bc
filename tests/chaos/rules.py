"""What must be true when the storm is over. A rule's docstring is its name; it gives whoever breaks it."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.chaos.errands import SILENT
from tests.chaos.facts import Attempt, Facts, Job
from tests.chaos.ledger import COMMITTED, ROLLED_BACK, UNKNOWN, Book

CRASHES = 5  # lost runs, and a job is taken for the killer of its workers
SUSPECTED = 3  # from the third run on that is lost in a row, a job runs alone in its worker
CLAIM_UNDER_WAY = dt.timedelta(seconds=1)  # a claim that began before a pause was committed may still take its tenant
ENDED = frozenset({"succeeded", "dead", "canceled"})


@dataclass
class Scene:
    """All that the rules look at."""

    facts: Facts
    book: Book
    poisoned: set[int] = field(default_factory=set)  # pids of the processes that a job has ended
    complaints: list[str] = field(default_factory=list)  # processes that ended as nobody meant


def one_place(scene: Scene) -> Iterator[str]:
    """each job stands in exactly one place"""
    yield from scene.facts.audit


def not_stuck(scene: Scene) -> Iterator[str]:
    """no job is stuck"""
    yield from (f"{job.id} {job.kind} is {job.state}" for job in scene.facts.jobs if job.state not in ENDED)


def committed(scene: Scene) -> Iterator[str]:
    """what was committed is there, once"""
    for intent in scene.book.fates(COMMITTED):
        if (count := len(scene.facts.by_mark[intent.mark])) != 1:
            yield f"{intent.mark} is there {count} times"


def rolled_back(scene: Scene) -> Iterator[str]:
    """what was rolled back is absent"""
    for intent in scene.book.fates(ROLLED_BACK):
        yield from (f"{job.id} {job.mark}" for job in scene.facts.by_mark[intent.mark])
        if intent.mark in scene.facts.orders:
            yield f"the order {intent.mark}"


def unknown(scene: Scene) -> Iterator[str]:
    """whose COMMIT nobody saw is there once or not at all"""
    for intent in scene.book.fates(UNKNOWN):
        if (count := len(scene.facts.by_mark[intent.mark])) > 1:
            yield f"{intent.mark} is there {count} times"


def with_its_order(scene: Scene) -> Iterator[str]:
    """a job and the row of its transaction are both there or both not"""
    roots = {job.mark for job in scene.facts.jobs if job.parent is None}
    yield from (f"the job {mark} has no order" for mark in sorted(roots - scene.facts.orders.keys()))
    yield from (f"the order {mark} has no job" for mark in sorted(scene.facts.orders.keys() - roots))


def meant(scene: Scene) -> Iterator[str]:
    """every job is one that somebody meant, for that tenant"""
    for job in scene.facts.jobs:
        intent = scene.book.intents.get(job.mark.removesuffix("+"))
        kind = "write" if job.parent is not None else job.kind
        if intent is None or intent.tenant != job.tenant_id or (job.parent is None and intent.kind != kind):
            yield f"{job.id} {job.kind} {job.mark} of {job.tenant_id}"


def exactly_once(scene: Scene) -> Iterator[str]:
    """effects in the handler's session are there exactly once"""
    finals = Counter((effect.job, effect.run) for effect in scene.facts.effects if effect.what == "final")
    snoozed = Counter((effect.job, effect.run) for effect in scene.facts.effects if effect.what == "snoozed")
    for attempt in scene.facts.attempts:
        kind, key = scene.facts.by_id[attempt.job].kind, (attempt.job, attempt.run)
        if attempt.outcome == "succeeded" and kind not in SILENT and finals[key] != 1:
            yield f"{attempt.job} {kind} run {attempt.run} has {finals[key]} effects"
        if attempt.outcome == "snoozed" and attempt.run == 2 and snoozed[key] != 1:
            yield f"{attempt.job} {kind} run {attempt.run} has {snoozed[key]} effects of its snooze"
    for job in scene.facts.jobs:
        if (count := len(scene.facts.ended(job, "succeeded"))) > 1 or (count == 0) is (job.state == "succeeded"):
            yield f"{job.id} {job.kind} is {job.state} and has succeeded {count} times"


def no_zombies(scene: Scene) -> Iterator[str]:
    """nothing is there of runs that were lost, failed or rolled back"""
    right = {"final": "succeeded", "snoozed": "snoozed"}
    for effect in scene.facts.effects:
        attempt = scene.facts.outcome.get((effect.job, effect.run))
        said = f"{effect.job} run {effect.run} left {effect.what!r}"
        if attempt is None:
            yield f"{said} and has not ended"
        elif effect.what == "step":
            if effect.at > attempt.finished_at:
                yield f"{said} at {effect.at}, its run was over ({attempt.outcome}) at {attempt.finished_at}"
        elif attempt.outcome != right.get(effect.what):
            yield f"{said} and ended as {attempt.outcome}"


def follow_ups(scene: Scene) -> Iterator[str]:
    """a follow-up is there if and only if its job has succeeded"""
    children = Counter(job.parent for job in scene.facts.jobs if job.parent is not None)
    for job in scene.facts.jobs:
        due = 1 if job.kind == "follow" and job.state == "succeeded" else 0
        if children[job.id] != due:
            yield f"{job.id} {job.kind} is {job.state} and has {children[job.id]} follow-ups"


def tallies(scene: Scene) -> Iterator[str]:
    """what transactions of the worker's repetition have counted is right"""
    done = Counter(job.tenant_id for job in scene.facts.jobs if job.kind == "tally" and job.state == "succeeded")
    for tenant, count in scene.facts.tallies.items():
        if done[tenant] != count:
            yield f"{tenant}: {count} were counted, {done[tenant]} have succeeded"


def charged(scene: Scene) -> Iterator[str]:
    """failures are charged, lost and released runs are not"""
    for job in scene.facts.jobs:
        if job.state in ENDED and job.id not in scene.book.retried:
            count = len(scene.facts.ended(job, "failed", "timed_out", "succeeded"))
            if job.attempt != count:
                yield f"{job.id} {job.kind} is {job.state} at attempt {job.attempt} after {count} that count"


def ended_with_cause(scene: Scene) -> Iterator[str]:
    """nothing is canceled unasked, or dead without a cause"""
    for job in scene.facts.jobs:
        if job.state == "canceled" and job.id not in scene.book.canceled:
            yield f"{job.id} {job.kind} was canceled by nobody"
        failed_out = job.kind == "fail" and job.attempt == 2
        if job.state == "dead" and not failed_out and len(scene.facts.ended(job, "lost")) < CRASHES:
            yield f"{job.id} {job.kind} is dead at attempt {job.attempt} with {job.crashes} crashes"


def poison_dies(scene: Scene) -> Iterator[str]:
    """a job that kills its process is dead, with the reason"""
    for job in scene.facts.jobs:
        if job.kind == "poison":
            runs = scene.facts.runs[job.id]
            if job.state != "dead" or not runs or (runs[-1].outcome, runs[-1].error) != ("lost", "WorkerLost"):
                yield f"{job.id} is {job.state} after {[attempt.outcome for attempt in runs]}"


def innocents(scene: Scene) -> Iterator[str]:
    """who has done nothing wrong is charged one attempt at most"""
    for job in scene.facts.jobs:
        if job.kind == "innocent" and (job.attempt > 1 or scene.facts.ended(job, "failed", "timed_out")):
            yield f"{job.id} is {job.state} at attempt {job.attempt}"


def alone(scene: Scene) -> Iterator[str]:
    """who has lost two workers in a row dies of nobody else: it runs beside no poison"""
    for job in scene.facts.jobs:
        if job.kind != "poison" and job.id not in scene.book.retried:
            yield from (
                f"{job.id} {job.kind} run {run.run} died beside the poison" for run in beside_poison(scene, job)
            )


def beside_poison(scene: Scene, job: Job) -> Iterator[Attempt]:
    """Its runs, from the third on that was lost in a row, whose process another job has ended at that time."""
    pids = {str(pid) for pid in scene.poisoned}
    row = 0
    for run in scene.facts.runs[job.id]:
        if run.outcome == "lost":
            row += 1
            if (
                row >= SUSPECTED
                and run.pid in pids
                and any(
                    run.pid == killer.pid
                    and killer.claimed_at < run.finished_at
                    and run.claimed_at < killer.finished_at
                    for killer in killers(scene)
                )
            ):  # a frozen process may lose this run, wake up, and be ended by poison much later
                yield run
        elif run.outcome != "released":
            row = 0


def killers(scene: Scene) -> list[Attempt]:
    """The runs of poison that were lost."""
    poison = [job for job in scene.facts.jobs if job.kind == "poison"]
    return [run for job in poison for run in scene.facts.ended(job, "lost")]


def only_theirs(scene: Scene) -> Iterator[str]:
    """tenants saw and wrote only what is theirs"""
    for effect in scene.facts.effects:
        if effect.strangers or effect.tenant_id != scene.facts.by_id[effect.job].tenant_id:
            yield f"{effect.job} of {effect.tenant_id} saw {effect.strangers} jobs of others"
    for mark, tenant in scene.facts.orders.items():
        intent = scene.book.intents.get(mark)
        if intent is None or intent.tenant != tenant:
            yield f"the order {mark} is {tenant}'s"


def pauses_hold(scene: Scene) -> Iterator[str]:
    """a paused tenant's jobs are not claimed"""
    for tenant, since, until in scene.book.pauses:
        start, end = dt.datetime.fromisoformat(since) + CLAIM_UNDER_WAY, dt.datetime.fromisoformat(until)
        for attempt in scene.facts.attempts:
            if start < attempt.claimed_at < end and scene.facts.by_id[attempt.job].tenant_id == tenant:
                yield f"{attempt.job} run {attempt.run} at {attempt.claimed_at}"


def no_surprises(scene: Scene) -> Iterator[str]:
    """every error and every exit status is one that a fault explains"""
    yield from scene.book.surprises
    yield from scene.complaints


RULES: tuple[Callable[[Scene], Iterator[str]], ...] = (
    one_place, not_stuck, committed, rolled_back, unknown, with_its_order, meant, exactly_once, no_zombies, follow_ups,
    tallies, charged, ended_with_cause, poison_dies, innocents, alone, only_theirs, pauses_hold, no_surprises,
)  # fmt: skip


def judge(scene: Scene) -> dict[str, list[str]]:
    """Each rule's name, and who breaks it."""
    return {(rule.__doc__ or rule.__name__): list(rule(scene)) for rule in RULES}
