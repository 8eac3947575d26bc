"""The worker's decisions, which are pure: how much to claim, how long to sleep, when to run alone."""

from __future__ import annotations

import pytest

from jobforge_sa.worker.cycle import (
    GIVEN_UP,
    LOOK_BUSY,
    LOOK_SOON,
    MAKE_WAY,
    MANY,
    MAX_PREFETCH,
    QUICK,
    Lookout,
    Pace,
    Rest,
    room,
)


@pytest.mark.parametrize(
    ("concurrency", "rate", "held", "wanted"),
    [
        (10, 0, 0, 10),  # slots, and nothing ahead for handlers of an unknown pace
        (10, 0, 10, 0),
        (10, 0, 11, 0),  # never less than none
        (10, 3.9, 10, 0),  # slow handlers get nothing ahead: others shall have it
        (10, 4, 10, 1),
        (1, 400, 0, 101),
        (1, 400, 101, 0),
        (10, 1e9, 0, 10 + MAX_PREFETCH),
    ],
)
def test_a_queue_claims_for_its_slots_and_a_quarter_of_a_second_ahead(
    concurrency: int, rate: float, held: int, wanted: int
) -> None:
    assert room(concurrency, rate, held) == wanted


def naps(rest: Rest, rounds: int, now: float = 0.0, since: float | None = None) -> list[float]:
    slept = []
    for _ in range(rounds):
        rest.nothing()
        slept.append(rest.nap(now, since))
        now += slept[-1]
    return slept


def test_who_is_not_woken_naps_short_at_first_and_never_longer_than_the_poll() -> None:
    assert naps(Rest(0.1), 7) == [0.005, 0.01, 0.02, 0.04, 0.08, 0.1, 0.1]
    rest = Rest(1.0, idle=10**9)
    assert rest.nap(0.0, None) == 1.0
    rest.found(1.0)
    assert rest.nap(1.0, None) == 0.0025
    assert Rest(0.001).nap(0.0, None) == 0.001


def test_who_is_woken_looks_again_at_twice_the_age_of_its_sleep_for_those_who_had_asked_before() -> None:
    slept = naps(Rest(1.0), 10, now=5.0, since=5.0)
    assert slept[:3] == pytest.approx([0.01, 0.01, 0.02])
    assert slept[-2:] == [1.0, 1.0]
    rest = Rest(1.0)
    rest.found(100.0)
    assert rest.nap(100.0, 5.0) == 1.0  # whoever enqueues has known for long
    rest.found(101.0, unasked=True)  # but a rate may have the next one soon
    assert [rest.nap(now, 5.0) for now in (101.0, 101.2, 102.0, 200.0)] == pytest.approx([0.01, 0.2, 1.0, 1.0])


def test_a_worker_asks_to_be_woken_after_three_looks_in_vain() -> None:
    rest = Rest(1.0)
    asleep = []
    for _ in range(4):
        rest.nothing()
        asleep.append(rest.asleep)
    assert asleep == [False, False, True, True]
    for n in range(20):  # a job now and then does not wake it for good
        rest.found(n * 1.0)
    assert rest.asleep
    few, crowds = [20 + n * QUICK * 0.9 for n in range(2 * MANY)], [30 + n * QUICK * 1.1 for n in range(2 * MANY)]
    for times, jobs in ((few, 1), (crowds, 500)):
        for now in times:
            rest.found(now, jobs)  # so few are told of, and so are crowds now and then
        assert rest.asleep


def test_under_load_nobody_needs_to_wake_a_worker() -> None:
    for gap, jobs in ((QUICK * 0.9, 2), (0.009, 1)):
        rest = Rest(1.0, asleep=True)
        for n in range(MANY + 1):
            rest.nothing()  # a look between two of them
            rest.found(40 + n * gap, jobs)
        assert not rest.asleep


def test_the_pace_rises_at_once_and_falls_by_half() -> None:
    pace = Pace()
    pace.observe(100, 0.5)
    assert pace.rate == 200
    rates = []
    for _ in range(3):
        pace.observe(0, 1)
        rates.append(pace.rate)
    assert rates == [100, 50, 25]
    pace.observe(1000, 1)
    assert pace.rate == 1000


def test_a_busy_worker_makes_way_while_a_suspect_waits_for_a_minute_at_most() -> None:
    lookout = Lookout()
    lookout.saw(False, 0, 0.5)
    assert (lookout.until, lookout.busy_at) == (None, LOOK_BUSY)
    lookout.saw(True, 10, 0.5)
    assert (lookout.until, lookout.busy_at) == (10 + MAKE_WAY, 10 + LOOK_SOON)
    lookout.saw(True, 69, 0.5)  # still not empty
    assert (lookout.until, lookout.busy_at) == (10 + MAKE_WAY, 69 + LOOK_SOON)
    lookout.saw(True, 70, 0.5)
    assert (lookout.until, lookout.busy_at) == (None, 70 + GIVEN_UP)
    lookout.saw(True, 370, 0.5)
    lookout.saw(False, 371, 0.5)  # another worker was quicker
    assert (lookout.until, lookout.busy_at) == (None, 371 + LOOK_BUSY)


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_busy_workers_do_not_all_look_at_once(chance: float) -> None:
    lookout = Lookout()
    lookout.postpone(0, chance)
    assert LOOK_BUSY / 2 <= lookout.busy_at <= LOOK_BUSY * 1.5
