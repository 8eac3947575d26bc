"""The judge of a storm finds each thing that may go wrong: a scene that is sound, and one broken piece at a time."""

from __future__ import annotations

import copy
import datetime as dt
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos import ledger, rules
from tests.chaos.facts import Attempt, Effect, Facts, Job
from tests.chaos.ledger import COMMITTED, ROLLED_BACK, UNKNOWN, Book, Intent, Ledger
from tests.chaos.rules import Scene

T = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return T + dt.timedelta(seconds=seconds)


def attempt(job: str, run: int, outcome: str, error: str | None = None, pid: str = "1") -> Attempt:
    return Attempt(job, run, outcome, at(run * 10), at(run * 10 + 5), error, pid)


def effect(job: str, run: int, what: str = "final", seconds: float | None = None) -> Effect:
    return Effect(f"m{job}", "a", job, run, what, 0, at(run * 10 + 4 if seconds is None else seconds))


def sound() -> Scene:
    """One job of each kind that matters, as it should be."""
    jobs = [
        Job("1", "a", "write", "m1", "succeeded", 1, 1),
        Job("2", "a", "steps", "m2", "succeeded", 2, 0),
        Job("3", "a", "snooze", "m3", "succeeded", 1, 0),
        Job("4", "a", "follow", "m4", "succeeded", 1, 0),
        Job("5", "a", "write", "m4+", "succeeded", 1, 0, parent="4"),
        Job("6", "a", "tally", "m6", "succeeded", 1, 0),
        Job("7", "a", "fail", "m7", "dead", 2, 0),
        Job("8", "a", "poison", "m8", "dead", 0, 5),
        Job("9", "a", "innocent", "m9", "succeeded", 1, 2),
        Job("10", "a", "write", "m10", "canceled", 0, 0),
    ]
    attempts = [
        attempt("1", 1, "lost"), attempt("1", 2, "succeeded"),
        attempt("2", 1, "failed"), attempt("2", 2, "succeeded"),
        attempt("3", 1, "snoozed"), attempt("3", 2, "snoozed"), attempt("3", 3, "succeeded"),
        attempt("4", 1, "succeeded"), attempt("5", 1, "succeeded"), attempt("6", 1, "succeeded"),
        attempt("7", 1, "failed"), attempt("7", 2, "failed"),
        *(attempt("8", run, "lost", "WorkerLost", "66") for run in range(1, 6)),
        attempt("9", 1, "lost"), attempt("9", 2, "lost"), attempt("9", 3, "succeeded"),
    ]  # fmt: skip
    effects = [
        effect("1", 2), effect("2", 1, "step"), effect("2", 2, "step"), effect("2", 2), effect("3", 2, "snoozed"),
        effect("3", 3), effect("4", 1), effect("5", 1), effect("6", 1),
    ]  # fmt: skip
    intents = {job.mark: Intent(job.mark, "a", job.kind, COMMITTED) for job in jobs if job.parent is None}
    intents["gone"] = Intent("gone", "a", "write", ROLLED_BACK)
    intents["m10"].fate = UNKNOWN
    orders = {job.mark: "a" for job in jobs if job.parent is None}
    facts = Facts(jobs, attempts, effects, orders, Counter({"1": 2}), {"a": 1})
    pauses = [("a", at(100).isoformat(), at(110).isoformat())]
    return Scene(facts, Book(intents, canceled={"10"}, pauses=pauses), poisoned={66})


def job(scene: Scene, number: str) -> Job:
    return next(job for job in scene.facts.jobs if job.id == number)


def without(scene: Scene, number: str) -> None:
    """A job vanishes, with all that names it."""
    facts = scene.facts
    facts.jobs = [job for job in facts.jobs if job.id != number]
    facts.attempts = [attempt for attempt in facts.attempts if attempt.job != number]
    facts.effects = [effect for effect in facts.effects if effect.job != number]


def twice(scene: Scene, original: str, **more: object) -> None:
    copied = copy.copy(next(job for job in scene.facts.jobs if job.mark == original))
    for name, value in ({"id": "99", "state": "canceled", "attempt": 0} | more).items():
        setattr(copied, name, value)
    scene.facts.jobs.append(copied)
    scene.book.canceled.add("99")


def lost_together(scene: Scene, number: str, pid: str = "66") -> None:
    """A job and the poison are lost in one process, five times."""
    for lost in (number, "8"):
        scene.facts.attempts += [attempt(lost, run, "lost", "WorkerLost", pid) for run in range(20, 25)]
    job(scene, number).state = "dead"


Break = Callable[[Scene], object]
BROKEN: list[tuple[str, Callable[..., object], Break]] = [
    ("the auditor complains", rules.one_place, lambda s: s.facts.audit.append("1 stands nowhere")),
    ("a job still runs", rules.not_stuck, lambda s: setattr(job(s, "10"), "state", "running")),
    ("a committed job is gone", rules.committed, lambda s: without(s, "1")),
    ("a committed job is there twice", rules.committed, lambda s: twice(s, "m1")),
    ("a rolled back job is there", rules.rolled_back, lambda s: twice(s, "m1", mark="gone")),
    ("a rolled back order is there", rules.rolled_back, lambda s: s.facts.orders.update(gone="a")),
    ("an unknown job is there twice", rules.unknown, lambda s: twice(s, "m10")),
    ("a job without its order", rules.with_its_order, lambda s: s.facts.orders.pop("m10")),
    ("an order without its job", rules.with_its_order, lambda s: without(s, "10")),
    ("a job that nobody meant", rules.meant, lambda s: s.book.intents.pop("m1")),
    ("a job of another tenant", rules.meant, lambda s: setattr(job(s, "1"), "tenant_id", "b")),
    ("an effect is missing", rules.exactly_once, lambda s: s.facts.effects.remove(effect("1", 2))),
    ("an effect is there twice", rules.exactly_once, lambda s: s.facts.effects.append(effect("1", 2))),
    ("a snooze lost its effect", rules.exactly_once, lambda s: s.facts.effects.remove(effect("3", 2, "snoozed"))),
    ("a job has succeeded twice", rules.exactly_once, lambda s: s.facts.attempts.append(attempt("1", 3, "succeeded"))),
    ("a lost run left something", rules.no_zombies, lambda s: s.facts.effects.append(effect("1", 1))),
    ("a failed run left something", rules.no_zombies, lambda s: s.facts.effects.append(effect("7", 1, "never"))),
    ("a step after its run", rules.no_zombies, lambda s: s.facts.effects.append(effect("2", 1, "step", 15.1))),
    ("an effect of no run", rules.no_zombies, lambda s: s.facts.effects.append(effect("1", 7))),
    ("a follow-up is missing", rules.follow_ups, lambda s: without(s, "5")),
    ("a follow-up too many", rules.follow_ups, lambda s: twice(s, "m4+", parent="7")),
    ("a tally is short", rules.tallies, lambda s: s.facts.tallies.update(a=0)),
    ("a lost run is charged", rules.charged, lambda s: setattr(job(s, "1"), "attempt", 2)),
    ("canceled by nobody", rules.ended_with_cause, lambda s: s.book.canceled.clear()),
    ("dead for nothing", rules.ended_with_cause, lambda s: setattr(job(s, "1"), "state", "dead")),
    ("poison lives", rules.poison_dies, lambda s: setattr(job(s, "8"), "state", "succeeded")),
    ("poison died of something else", rules.poison_dies, lambda s: setattr(s.facts.attempts[16], "error", "Other")),
    ("an innocent is charged", rules.innocents, lambda s: s.facts.attempts.append(attempt("9", 4, "failed"))),
    ("a suspect dies beside the poison", rules.alone, lambda s: lost_together(s, "9")),
    ("a tenant saw others", rules.only_theirs, lambda s: setattr(s.facts.effects[0], "strangers", 3)),
    ("a tenant wrote into another", rules.only_theirs, lambda s: s.facts.orders.update(m1="b")),
    ("a claim in a pause", rules.pauses_hold, lambda s: setattr(s.facts.attempts[0], "claimed_at", at(105))),
    ("an error that nothing explains", rules.no_surprises, lambda s: s.book.surprises.append("TypeError")),
    ("a process that ended oddly", rules.no_surprises, lambda s: s.complaints.append("worker 1 ended with 1")),
]


def test_a_sound_scene_breaks_no_rule() -> None:
    assert {name: found for name, found in rules.judge(sound()).items() if found} == {}


@pytest.mark.parametrize(("rule", "damage"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_the_judge_finds(rule: Callable[..., object], damage: Break) -> None:
    scene = sound()
    damage(scene)
    assert rules.judge(scene)[str(rule.__doc__)]


def test_every_rule_is_seen_to_break() -> None:
    assert set(rules.RULES) == {rule for _, rule, _ in BROKEN}


def test_two_runs_that_are_lost_beside_the_poison_and_others_that_are_lost_later_break_no_rule() -> None:
    scene = sound()
    lost_together(scene, "9")
    facts = scene.facts
    facts.attempts = [run for run in facts.attempts if run.job != "9" or run.run < 22]
    # its process was frozen, and woke up for the poison when this one had been given to another
    facts.attempts += [attempt("9", run, "lost", "WorkerLost", "66") for run in range(30, 33)]
    assert list(rules.alone(scene)) == []


def test_a_commit_that_was_sent_and_not_answered_stays_unknown_until_one_is_answered(tmp_path: Path) -> None:
    book = Ledger(tmp_path, "one")
    book.mean("a", [("m1", "write"), ("m2", "write"), ("m3", "write"), ("m4", "write")])
    book.tell(UNKNOWN, ["m1", "m2"])
    book.tell(ROLLED_BACK, ["m1", "m3"])
    book.tell(COMMITTED, ["m2"])
    read = ledger.read(tmp_path).intents
    assert [read[mark].fate for mark in ("m1", "m2", "m3", "m4")] == [UNKNOWN, COMMITTED, ROLLED_BACK, UNKNOWN]
