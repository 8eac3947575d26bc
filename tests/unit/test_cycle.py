"""The worker's decisions, which are pure: how much to claim, how long to sleep, when to run alone."""

from __future__ import annotations

import pytest

from jobforge_sa.worker.cycle import GIVEN_UP, LOOK_BUSY, LOOK_IDLE, MAKE_WAY, MAX_PREFETCH, Lookout, Pace, nap, room


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


def test_naps_are_short_at_first_and_never_longer_than_the_poll() -> None:
    assert [nap(rounds, 1.0) for rounds in range(7)] == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert nap(10**9, 1.0) == 1.0
    assert nap(10**9, 1e9) < 1e5
    assert nap(0, 0.01) == 0.01


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
    assert (lookout.until, lookout.busy_at) == (10 + MAKE_WAY, 10 + LOOK_IDLE)
    lookout.saw(True, 69, 0.5)  # still not empty
    assert (lookout.until, lookout.busy_at) == (10 + MAKE_WAY, 69 + LOOK_IDLE)
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
