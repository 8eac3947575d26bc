"""A claim reads the same pages whatever waits: how many jobs, of how many tenants, and who cannot run before them."""

from __future__ import annotations

import time

import pytest
from psycopg.types.json import Jsonb

from tests.flat.field import Field, more

pytestmark = pytest.mark.flat

FEW = 10_000
BLOCKED = 200_000
PATIENCE = 60  # seconds, until what cannot run stands aside

ALL = {"max_running": 0}
SLOW = {"rate": 1}  # a second
# what stands before the others, older than they are: of how many tenants, where, and who said that it cannot run
BLOCKS: dict[str, tuple[dict[str, object], list[tuple[object, ...]]]] = {
    "unknown types, of the same tenant": ({"type_": "unknown"}, []),
    "unknown types, of another tenant": ({"name": "0", "type_": "unknown"}, []),
    "unknown types, of many tenants": ({"name": "0", "tenants": 10_000, "type_": "unknown"}, []),
    "a paused tenant": ({"name": "0"}, [("pause_tenant", "0")]),
    "paused tenants": ({"name": "0", "tenants": 500}, [("pause_tenant", f"0{n:05}") for n in range(500)]),
    "a paused queue": ({"queue": "held"}, [("pause_queue", "held")]),
    "a paused task, of the same tenant": ({"type_": "slow"}, [("pause_task", "slow")]),
    "a paused task, of many tenants": ({"name": "0", "tenants": 10_000, "type_": "slow"}, [("pause_task", "slow")]),
    "a capped tenant": ({"name": "0"}, [("limit_tenant", "0", Jsonb(ALL))]),
    "capped tenants": ({"name": "0", "tenants": 500}, [("limit_tenant", f"0{n:05}", Jsonb(ALL)) for n in range(500)]),
    "a capped queue": ({"queue": "held"}, [("limit_queue", "held", Jsonb(ALL))]),
    "a capped task, of the same tenant": ({"type_": "slow"}, [("limit_task", "slow", Jsonb(ALL))]),
    "a capped task, of many tenants": (
        {"name": "0", "tenants": 10_000, "type_": "slow"},
        [("limit_task", "slow", Jsonb(ALL))],
    ),
    "a tenant that has had its rate": ({"name": "0"}, [("limit_tenant", "0", Jsonb(SLOW))]),
    "a queue that has had its rate": ({"queue": "held"}, [("limit_queue", "held", Jsonb(SLOW))]),
    "a task that has had its rate": ({"type_": "slow"}, [("limit_task", "slow", Jsonb(SLOW))]),
}


@pytest.mark.parametrize("tenants", [1, 10, 10_000])
def test_a_claim_reads_the_same_pages_with_ten_thousand_and_a_million_jobs_waiting(
    field: Field, many: int, tenants: int
) -> None:
    asked = [(limit, start) for limit in (10, 100) for start in ("", None)]
    field.fill(FEW, tenants)
    few = {one: field.pages(one[0], cursor=one[1]) for one in asked}
    field.fill(many - FEW, tenants, days=2)
    read = {one: field.pages(one[0], cursor=one[1]) for one in asked}
    print(f"\n{tenants} tenants: {few} pages with {FEW:,} jobs, {read} with {many:,}")
    assert more(few, read) == {}


def test_a_claim_reads_the_same_pages_for_jobs_of_a_hundred_and_of_ten_thousand_tenants(
    field: Field, many: int
) -> None:
    field.fill(many // 2, 100, queue="hundred")
    field.fill(many // 2, 10_000, queue="crowd")
    few, read = ({100: field.pages(100, queues=[queue])} for queue in ("hundred", "crowd"))
    print(f"\n{few} pages with 100 tenants, {read} with 10,000")
    assert more(few, read) == {}


@pytest.mark.parametrize("what", BLOCKS)
def test_a_claim_reads_the_same_pages_behind_jobs_that_cannot_run(field: Field, what: str) -> None:
    front, said = BLOCKS[what]
    queues = [str(front.get("queue", "default")), "default"]
    field.fill(FEW)
    few = {limit: field.pages(limit) for limit in (10, 100)}
    for one in said:
        field.call(str(one[0]), *one[1:])
    field.fill(BLOCKED, **({"days": 2} | front))  # type: ignore[arg-type]

    read, worst, steps, began = dict(few), 0, 0, time.monotonic()
    while not steps or more(few, read):
        field.enqueue(1000)  # what a look and ten steps take
        read = {limit: field.pages(limit, queues=queues) for limit in few}
        worst = max(worst, *read.values())
        if time.monotonic() - began > PATIENCE:
            break
        for _ in range(10):
            field.take(10, queues)
            field.upkeep()
        steps += 10
    print(f"\n{what}: {few} pages without them; {worst} at worst, {read} after {steps} claims and upkeeps")
    assert more(few, read) == {}
