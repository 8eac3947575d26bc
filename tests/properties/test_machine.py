"""Whatever happens in whatever order: the database and the model of the lease protocol say the same.

The default run is the same each time and takes half a minute. `make properties` goes on for as many examples as it is
told, always others, and shrinks what it finds. docs/leases.md has the protocol in words.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import Counter
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.properties import page
from tests.properties.database import Real
from tests.properties.machine import ACTIONS, Machine
from tests.properties.mutants import COARSE, FINE, Mutant, living
from tests.support import Sql, call, one_database

EXAMPLES = int(os.environ.get("JOBFORGE_PROPERTIES", "0"))
BASE = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
# always the same examples, and none is shrunk: that takes minutes, and `make properties` does it
BRIEF = settings(
    BASE, max_examples=50, stateful_step_count=50, derandomize=True, database=None, phases=[Phase.generate]
)
LONG = settings(BASE, max_examples=max(EXAMPLES, 1), stateful_step_count=80)
HUNT = settings(BRIEF, max_examples=300, report_multiple_bugs=False)

# what the brief run reaches many times over, so that a change of the machine that loses its way is seen; what is rare
# is asked of `make properties`, for any change deals the cards of the brief run anew
REACHED_IN_BRIEF = {
    "claim: running", "promote: queued", "succeeded: succeeded", "lost: queued", "lost: scheduled", "complete: lost",
    "complete: already_done", "cancel: queued", "cancel: running", "handler: done", "transaction: committed",
    "prune: succeeded", "prune: canceled",
}  # fmt: skip
BESIDE = (
    "rule",
    "waited",
    "transaction",
    "savepoint",
    "handler",
    "token",
    "job",
    "tenant",
)  # are no transitions of jobs


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


def test_the_database_does_what_the_model_says(real: Real) -> None:
    reached = drive(real, LONG if EXAMPLES else BRIEF)
    for name, times in sorted(reached.items()):
        print(f"{times:8} {name}")

    assert {f"rule: {name}" for name in ("stock", *ACTIONS)} - reached.keys() == set()
    assert REACHED_IN_BRIEF - reached.keys() == set()
    assert any(name.startswith("waited") for name in reached)
    transitions = {name for name in reached if not name.startswith(BESIDE)}
    assert transitions - page.rows().keys() == set(), "not on the page"
    if EXAMPLES >= 1000:
        assert page.rows().keys() - transitions == set(), "never reached"


@pytest.mark.parametrize("mutant", [*COARSE, *FINE] if EXAMPLES else COARSE, ids=lambda mutant: mutant.wrong)
def test_a_fault_in_a_function_is_found(real: Real, mutant: Mutant) -> None:
    with living(real, mutant), pytest.raises((AssertionError, psycopg.Error, Flaky)) as found:
        drive(real, HUNT)
    print(f"{found.type.__name__}: {str(found.value)[:500]}")


@pytest.mark.parametrize("mutant", FINE, ids=lambda mutant: mutant.wrong)
def test_a_fault_that_is_hunted_for_long_can_be_made(mutant: Mutant) -> None:
    assert mutant.words in mutant.sound()


# --- what the machine has found -----------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [None, dt.timedelta(seconds=5)], ids=["queued", "scheduled"])
def test_two_reschedules_that_meet_both_count(real: Real, delay: dt.timedelta | None) -> None:
    real.clean()
    sql = real.sql
    job = sql.enqueue(delay=delay)
    first, second = sql.connect("jf_app", tenant="a"), sql.connect("jf_app", tenant="a")
    call(first, "reschedule_job", job_id=job, delay=dt.timedelta(seconds=10))
    minute = dt.timedelta(minutes=1)
    waiting = sql.waits(second, lambda: call(second, "reschedule_job", job_id=job, delay=minute))
    first.commit()

    (said,) = waiting.result(5)
    second.commit()
    assert (said["state"], said["due_at"]) == (
        "scheduled",
        real.sql.look("select jobforge.now() as at")[0]["at"] + minute,
    )
