"""Somebody holds a snapshot, and a million jobs go by: a claim reads what it read before.

Nothing that was deleted since can be removed, for he might still look at it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from psycopg.types.json import Jsonb

from tests.flat.field import DEAD, Field, more, tenant

pytestmark = pytest.mark.flat

LOOKS = 10  # on the way
WAITING = 4_000  # what a look takes, and more
FEW = 100  # enqueued, claimed, completed at a time
FED = 16  # tenants that have what a look takes
STEP = 7  # pages for a tenant that has nothing any more: a session without a cursor passes them once in a round


def looks(field: Field, many: int, go_on: Callable[[int], None], what: str, tenants: int, *, idle: int = 0) -> None:
    """Let a million jobs go by, and read meanwhile; ends at the first look that reads more."""
    asked = [(limit, start) for limit in (10, 100) for start in ("", None)]
    few = {one: field.pages(one[0], cursor=one[1]) for one in asked}
    print(f"\n{what}: {few} pages")
    with field.held_snapshot():
        for step in range(1, LOOKS + 1):
            go_on(max(many // LOOKS * step - field.done, 0))
            enqueue(field, tenants)
            read = {one: field.pages(one[0], cursor=one[1]) for one in asked}
            print(f"  {field.done:,} jobs on: {read} pages")
            for start, spare in (("", DEAD), (None, DEAD + idle * STEP)):
                assert more({one: few[one] for one in asked if one[1] == start}, read, spare) == {}


def enqueue(field: Field, tenants: int) -> None:
    """What the looks take."""
    for turn in range(FED):
        field.enqueue(100, tenant("a", turn, tenants))


@pytest.mark.parametrize("tenants", [1, 100, 10_000])
def test_a_backlog_that_drains_under_a_held_snapshot_costs_the_same_to_its_end(
    field: Field, many: int, tenants: int
) -> None:
    field.fill(many + 2 * WAITING, tenants)
    looks(field, many, field.work, f"a backlog of {tenants} tenants", tenants)


@pytest.mark.parametrize("tenants", [1, 100])
def test_a_trickle_under_a_held_snapshot_costs_the_same_for_ever(field: Field, many: int, tenants: int) -> None:
    field.fill(WAITING, tenants)
    go_on, what = (lambda jobs: field.trickle(jobs, FEW, tenants)), f"a trickle of {tenants} tenants"
    looks(field, many, go_on, what, tenants, idle=max(0, tenants - FED))


@pytest.mark.parametrize("tenants", [1, 16])  # those of the looks
def test_ordered_jobs_under_a_held_snapshot_cost_the_same_for_ever(field: Field, many: int, tenants: int) -> None:
    """Jobs of which one has to wait for the other go by; the looks are at some that have not, and leave turns."""

    def go_on(jobs: int) -> None:
        field.ordered = 2
        field.trickle(jobs, FEW, tenants)
        field.ordered = 1

    field.ordered = 1
    for _ in range(2):
        enqueue(field, tenants)
    looks(field, many, go_on, f"ordered jobs of {tenants} tenants", tenants)


LIMITS = {"tenant": "limit_tenant", "queue": "limit_queue", "task": "limit_task"}
NAMES = {"tenant": "a", "queue": "default", "task": "t"}


@pytest.mark.parametrize("scope", LIMITS)
def test_limited_jobs_under_a_held_snapshot_cost_the_same_for_ever(field: Field, many: int, scope: str) -> None:
    field.fill(WAITING)
    field.call(LIMITS[scope], NAMES[scope], Jsonb({"max_running": 200}))
    # a minute later, when all who run are counted by the index
    field.admin.execute("update jobforge.limits set counted = true")
    looks(field, many, lambda jobs: field.trickle(jobs, FEW), f"jobs of a limited {scope}", 1)
