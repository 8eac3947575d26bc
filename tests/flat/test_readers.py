"""What somebody does who only reads, or holds something back, costs little and for a while: space comes back."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from jobforge_sa.testing.server import EmbeddedServer
from tests.flat.field import DEAD, Field, more, own_server
from tests.support import wait_for

pytestmark = pytest.mark.flat

WAITING = 1_000
TAKEN = 7 * 110  # by a look
LIMITS = (10, 100)
HOT = ("ready", "leases", "scheduled")


@contextmanager
def dumping(server: EmbeddedServer, field: Field) -> Iterator[None]:
    """A pg_dump in the middle of the jobs, whose output nobody takes until the block is over."""
    binary = server.installation.bindir / "pg_dump"
    if not binary.is_file():
        pytest.skip(f"{server.installation} comes without pg_dump")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    dump = subprocess.Popen(
        [binary, "--schema=jobforge", f"--dbname={field.database.dsn()}"], stdout=subprocess.PIPE, env=environment
    )
    stands = "select from pg_stat_activity where application_name = 'pg_dump' and wait_event = 'ClientWrite'"
    try:
        wait_for(lambda: field.admin.execute(stands).rowcount, 30, "pg_dump to stand in a table")
        yield
        assert dump.stdout is not None
        while dump.stdout.read(1 << 20):
            pass
        assert dump.wait(60) == 0
    finally:
        dump.kill()
        dump.communicate()


def test_a_dump_costs_a_bounded_amount_which_is_over_when_it_ends(many: int) -> None:
    with own_server() as (server, database):
        field = Field(database)
        field.fill(many // 10)
        field.work(many // 10 - WAITING - 2 * TAKEN)  # a history that a dump cannot pass in one breath
        field.vacuum()
        few = {limit: field.pages(limit) for limit in LIMITS}
        print(f"\n{few} pages without a dump")
        with dumping(server, field):
            for _ in range(5):
                field.trickle(many // 25, 100)
                field.enqueue(TAKEN)
                read = {limit: field.pages(limit) for limit in LIMITS}
                print(f"  {field.done:,} jobs on: {read} pages")
                assert more(few, read, DEAD) == {}
        field.vacuum()  # as autovacuum does now
        read = {limit: field.pages(limit) for limit in LIMITS}
        print(f"  {read} pages when it has ended")
        assert more(few, read) == {}
        size = field.size("ready")
        for _ in range(5):
            field.trickle(many // 100, 100)
            field.vacuum()
        assert field.size("ready") <= 1.1 * size, "what the dump has kept is filled anew"
        field.close()


@contextmanager
def paused(field: Field) -> Iterator[None]:
    field.fill(1, name="0", days=2)
    field.call("pause_tenant", "0")
    yield


@contextmanager
def unknown(field: Field) -> Iterator[None]:
    field.fill(1, type_="unknown", days=2)
    yield


@contextmanager
def idle(field: Field) -> Iterator[None]:
    """A session that has looked and does nothing now."""
    with field.connect() as reader:
        reader.execute("select count(*) from jobforge.ready, jobforge.leases")
        yield


@contextmanager
def idle_in_transaction(field: Field) -> Iterator[None]:
    """It holds locks on what it has read, and at READ COMMITTED no snapshot."""
    with field.connect() as reader, reader.transaction():
        reader.execute("select count(*) from jobforge.ready, jobforge.leases")
        yield


@pytest.mark.parametrize("what", [paused, unknown, idle, idle_in_transaction])
def test_space_comes_back_all_the_same(field: Field, many: int, what: Callable[[Field], Iterator[None]]) -> None:
    field.fill(WAITING + 2 * TAKEN)
    few = {limit: field.pages(limit) for limit in LIMITS}
    sizes: list[dict[str, int]] = []
    with what(field):  # type: ignore[attr-defined]
        for _ in range(10):
            field.trickle(many // 50, 500)
            field.vacuum()
            sizes.append({table: field.size(table) for table in HOT})
        read = {limit: field.pages(limit) for limit in LIMITS}
    print(f"\n{what.__name__}: {few} pages, then {read}; {sizes[0]} bytes, then {sizes[-1]}")
    assert more(few, read) == {}
    first, second = ({table: max(look[table] for look in part) for table in HOT} for part in (sizes[:5], sizes[5:]))
    assert {table: (first[table], second[table]) for table in HOT if second[table] > 1.25 * first[table]} == {}
