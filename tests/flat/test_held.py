"""Somebody holds a snapshot, and a million jobs go by: a claim reads what it read before.

Nothing that was deleted since can be removed, for he might still look at it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.flat.field import DEAD, Field, more, tenant

pytestmark = pytest.mark.flat

LOOKS = 10  # on the way
WAITING = 4_000  # what a look takes, and more
FEW = 100  # enqueued, claimed, completed at a time


def looks(field: Field, many: int, go_on: Callable[[int], None], what: str, tenants: int) -> None:
    """Let a million jobs go by, and read meanwhile; ends at the first look that reads more."""
    asked = [(limit, start) for limit in (10, 100) for start in ("", None)]
    few = {one: field.pages(one[0], cursor=one[1]) for one in asked}
    print(f"\n{what}: {few} pages")
    with field.held_snapshot():
        for step in range(1, LOOKS + 1):
            go_on(max(many // LOOKS * step - field.done, 0))
            for turn in range(16):  # the looks take jobs
                field.enqueue(100, tenant("a", turn, tenants))
            read = {one: field.pages(one[0], cursor=one[1]) for one in asked}
            print(f"  {field.done:,} jobs on: {read} pages")
            assert more(few, read, DEAD) == {}


@pytest.mark.parametrize("tenants", [1, 100, 10_000])
def test_a_backlog_that_drains_under_a_held_snapshot_costs_the_same_to_its_end(
    field: Field, many: int, tenants: int
) -> None:
    field.fill(many + 2 * WAITING, tenants)
    looks(field, many, field.work, f"a backlog of {tenants} tenants", tenants)


@pytest.mark.parametrize("tenants", [1, 100])
def test_a_trickle_under_a_held_snapshot_costs_the_same_for_ever(field: Field, many: int, tenants: int) -> None:
    field.fill(WAITING, tenants)
    looks(field, many, lambda jobs: field.trickle(jobs, FEW, tenants), f"a trickle of {tenants} tenants", tenants)
