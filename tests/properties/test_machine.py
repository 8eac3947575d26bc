"""Whatever happens in whatever order: the database and the model of the lease protocol say the same.

The default run is the same each time and takes half a minute. `make properties` goes on for as many examples as it is
told, always others, and shrinks what it finds: see docs/leases.md.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.database import Real
from tests.properties.machine import Machine
from tests.support import Sql, one_database

EXAMPLES = int(os.environ.get("JOBFORGE_PROPERTIES", "0"))
BASE = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
BRIEF = settings(
    BASE, max_examples=60, stateful_step_count=50, derandomize=True, database=None, phases=[Phase.generate]
)
LONG = settings(BASE, max_examples=EXAMPLES or 1, stateful_step_count=80)


@pytest.fixture(scope="module")
def real(admin_url: sa.URL, template: str) -> Iterator[Real]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        real = Real(sql)
        yield real
        real.clean()


def drive(real: Real, how: settings) -> Counter[str]:
    """Let the machine run; give how often each rule and each transition was reached."""
    driven: type[Machine] = type("Driven", (Machine,), {"real": real, "reached": Counter()})
    run_state_machine_as_test(driven, settings=how)
    return driven.reached


def test_brief(real: Real) -> None:
    reached = drive(real, BRIEF)
    for k, v in sorted(reached.items()):
        print(v, k)
