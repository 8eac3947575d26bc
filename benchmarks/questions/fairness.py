"""Many tenants: how long a small one waits beside one with a million jobs, and what many tenants cost.

The wait: one tenant has 1,000,000 jobs waiting, 1,000 others have five each; one worker process is at work, and each
20 to 80 ms a small tenant enqueues one more: from the answer of its commit to the first line of its handler. Jobs that
have not begun six seconds after the last one never did, for this table.
The cost: the same number of jobs, of 10 tenants and of 10,000. The line below is that of 10,000 against it.
None of the peers knows tenants, so a job waits there until all before it are done; that is what "by hand" shows.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import drained, paced
from benchmarks.crew import crew
from benchmarks.orders import ANYONE, Order, order
from benchmarks.question import RATE, Case, Contender, Measured, Setting
from benchmarks.questions import backlog
from benchmarks.systems import by_hand, ours
from benchmarks.systems.system import Database, Plain, Purpose, System, nothing
from jobforge_sa import Jobs

Enqueue = Callable[[str, list[Order]], None]  # for a tenant, in a transaction
PATIENCE = 6.0


def _wait(system: System, connect: Callable[[Database], Enqueue], jobs: int, small: int) -> Contender:
    tenants = [f"small-{number:04d}" for number in range(small)]

    def run(database: Database) -> Measured:
        enqueue = connect(database)
        for tenant in tenants:
            enqueue(tenant, [order(ANYONE)] * 5)
        with crew(system, database, Purpose.LATENCY) as working:
            working.go()
            working.must(lambda: working.board.began > 0, "the first handler")
            producer = Plain(lambda one: enqueue(tenants[one.number % small], [one]), nothing_at_all)
            return paced.waits(working, producer, 60, seconds=PATIENCE)

    return Contender(lambda place: backlog.filled(place, system, jobs), run)


def nothing_at_all(_orders: object) -> None:
    """There is no bulk here."""
    nothing(0)


def _ours(database: Database) -> Enqueue:
    connection = database.engine().connect()

    def enqueue(tenant: str, orders: list[Order]) -> None:
        Jobs(connection, tenant=tenant).enqueue_many(ours.nothing.new(order) for order in orders)
        connection.commit()

    return enqueue


def _by_hand(database: Database) -> Enqueue:
    connection = database.connect()

    def enqueue(_tenant: str, orders: list[Order]) -> None:
        with connection.transaction():
            for order in orders:
                connection.execute(by_hand.ENQUEUE, (order.model_dump_json(),))

    return enqueue


def _cost(jobs: int, tenants: int, seconds: float) -> Contender:
    def fill(database: Database) -> None:
        ours.SYSTEM.fill(database, jobs, tenants)

    return Contender(
        lambda place: place.template(ours.SYSTEM, f"{jobs} jobs of {tenants} tenants", fill),
        lambda database: drained.drain(ours.SYSTEM, database, jobs, seconds),
    )


def cases(setting: Setting) -> list[Case]:
    """The wait, and the cost."""
    jobs, small = setting.size(1_000_000, 2_000), setting.size(1_000, 20)
    drain, many, seconds = setting.size(20_000, 1_000), setting.size(10_000, 100), setting.size(10, 4)
    waits = {ours.SYSTEM.name: _wait(ours.SYSTEM, _ours, jobs, small)}
    if by_hand.SYSTEM in setting.systems:
        waits[by_hand.SYSTEM.name] = _wait(by_hand.SYSTEM, _by_hand, jobs, small)
    costs = {f"{tenants:,} tenants": _cost(drain, tenants, seconds) for tenants in (10, many)}
    return [
        Case(f"a new job of a small tenant, beside {jobs:,} of another", waits, (paced.P50, paced.P99)),
        Case(f"{drain:,} jobs", costs, (RATE,)),
    ]
