"""Jobs come and go for as long as one likes, and no table and no index goes on growing: with nothing but autovacuum."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator

import pytest

from tests.flat.field import Field, own_server
from tests.flat.traffic import Traffic

pytestmark = pytest.mark.flat

FULL = 5_000_000
BATCH = 2_000
LOOKS = 50
# tables and indexes, each for itself: an index can grow where its table does not
SIZES = """
select c.relname as name, pg_relation_size(c.oid) as bytes
  from pg_class c where c.relnamespace = 'jobforge'::regnamespace and c.relkind in ('r', 'i')
"""
SPARE = 128  # pages: what a short time without autovacuum may add to a small table


@pytest.fixture
def soaked(many: int) -> Iterator[tuple[Field, Traffic, int]]:
    """A server of its own; a run with fewer jobs sees autovacuum as often."""
    jobs = int(os.environ.get("JOBFORGE_SOAK") or many // 2)
    with own_server({"autovacuum_naptime": f"{max(1, min(60, 60 * jobs // FULL))}s"}) as (_, database):
        field, traffic = Field(database), Traffic(database, BATCH)
        traffic.keep(max(1, 10 * jobs // FULL))
        yield field, traffic, jobs
        field.close()
        traffic.close()
        assert database.audit() == []


def test_after_millions_of_jobs_no_table_and_no_index_goes_on_growing(soaked: tuple[Field, Traffic, int]) -> None:
    field, traffic, jobs = soaked
    seen: list[dict[str, int]] = []
    began = time.monotonic()
    print(f"\n{jobs:,} jobs")
    while traffic.rounds * BATCH < jobs:
        traffic.round()
        if traffic.rounds * BATCH >= jobs * (len(seen) + 1) // LOOKS:
            seen.append({row["name"]: row["bytes"] for row in field.admin.execute(SIZES).fetchall()})
            if len(seen) % (LOOKS // 10) == 0:
                largest = sorted(seen[-1], key=seen[-1].__getitem__, reverse=True)[:8]
                told = ", ".join(f"{name} {seen[-1][name] / 1e6:.1f}" for name in largest)
                took = dt.timedelta(seconds=round(time.monotonic() - began))
                print(f"  {took} {traffic.rounds * BATCH:,}: {sum(seen[-1].values()) / 1e6:.0f} MB; {told}", flush=True)
    half = len(seen) // 2
    first, second = (
        {name: max(look[name] for look in part) for name in seen[0]} for part in (seen[:half], seen[half:])
    )
    grown = {name: (first[name], second[name]) for name in first if second[name] > 1.25 * first[name] + SPARE * 8192}
    assert grown == {}
