"""A storm of two minutes, its drain included, in every run of the suite: `make chaos` is the long one."""

from __future__ import annotations

import os

import pytest
from rich.console import Console

from jobforge_sa.testing.server import ServerError
from tests.chaos import report
from tests.chaos.storm import Plan, Storm

# start and drain come on top, about 40 s; pytest ends a test after 300
SECONDS = float(os.environ.get("JOBFORGE_CHAOS_SECONDS", "75"))
SEED = int(os.environ.get("JOBFORGE_CHAOS_SEED", "4"))


def test_fault_001_003_004_005_006_008_011_015_033_a_storm_loses_nothing_doubles_nothing_and_leaves_nothing_stuck() -> (
    None
):
    plan = Plan(SECONDS, SEED, workers=3, rate=6.0)
    console = Console(width=110)
    try:
        with report.Screen(console, plan.seconds) as screen:
            result = Storm(plan, screen.show).run()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    report.show(console, result)  # pytest shows it where the test fails
    assert {name: found for name, found in result.broken.items() if found} == {}, f"seed {SEED}"
    for fault in ("kills", "freezes", "immediate restarts", "fast restarts", "cuts", "black holes", "poisons"):
        assert result.faults[fault], f"no {fault}: the storm was none"
    assert sum(job.state == "succeeded" for job in result.scene.facts.jobs) > SECONDS
