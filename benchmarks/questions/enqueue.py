"""One by one: in a transaction each, as all systems do it, and in one that is open, ours beside an INSERT by hand.

In a transaction each: over one connection that stands, from the call to the answer of its commit. "raw INSERT" is one
row into the table by hand, without a NOTIFY. Not fair: each system writes what it finds necessary, from one row to
six; ours goes through SQLAlchemy, checks names, size and tenant, and is bound by the policies; the peers go through
their own pool or connection, mostly as the owner of all.
In one transaction: through SQLAlchemy, on one `Session`, from a pydantic model to the server's answer. "bare INSERT"
is SQLAlchemy's own, of the row with the payload into a table equal to ours; "the same rows" all that an enqueue leaves
behind, in one statement of text.
Not fair: by hand nothing is checked, no tenant decides, nobody is notified, and the client makes the id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from benchmarks import twins
from benchmarks.drained import WRITTEN
from benchmarks.orders import Order, orders
from benchmarks.question import RATE, Case, Contender, Measured, Metric, Setting
from benchmarks.systems import by_hand, ours
from benchmarks.systems.system import Database, Plain, Producer, System
from jobforge_sa import Jobs

WARM_UP: Final = 50
SECONDS: Final = 3.0
EACH: Final = (RATE, Metric("p99 of a call", "ms"), Metric("WAL", "B/job"))
One = Callable[[Session, Order], None]


def _each(database: Database, producer: Producer, jobs: int, seconds: float = SECONDS) -> Measured:
    made = orders(range(jobs + WARM_UP))
    producer.each(made[:WARM_UP])
    written = database.value(WRITTEN)
    began, taken = time.perf_counter(), list[float]()
    marks = list[float]()
    producer.each(
        until(made[WARM_UP:], seconds),
        lambda _: marks.append(time.perf_counter()),
        lambda _: taken.append(time.perf_counter() - marks[-1]),
    )
    done, took = len(taken), time.perf_counter() - began
    return {
        "throughput": done / took,
        "p99 of a call": sorted(taken)[int(done * 0.99)] * 1000,
        "WAL": (database.value(WRITTEN) - written) / done,
    }


def until(orders: Sequence[Order], seconds: float) -> Iterator[Order]:
    """As many as fit into the time."""
    end = time.monotonic() + seconds
    for order in orders:
        if time.monotonic() > end:
            return
        yield order


def _of(system: System, jobs: int) -> Contender:
    def run(database: Database) -> Measured:
        with system.producer(database) as producer:
            return _each(database, producer, jobs)

    return Contender(lambda place: place.template(system), run)


def _raw(jobs: int) -> Contender:
    def run(database: Database) -> Measured:
        with database.connect() as connection:

            def one(order: Order) -> None:
                connection.execute(by_hand.ENQUEUE, (order.model_dump_json(),))

            return _each(database, Plain(one, lambda _: None), jobs)

    return Contender(lambda place: place.template(by_hand.SYSTEM), run)


def _together(prepare: Callable[[Database], One], jobs: int) -> Contender:
    def run(database: Database) -> Measured:
        one, made = prepare(database), orders(range(jobs + WARM_UP))
        with Session(database.engine()) as session:
            for order in made[:WARM_UP]:
                one(session, order)
            session.commit()
            began = time.perf_counter()
            for order in made[WARM_UP:]:
                one(session, order)
            session.commit()
            return {"throughput": jobs / (time.perf_counter() - began)}

    return Contender(twins.template, run)


def _enqueue(_database: Database) -> One:
    def one(session: Session, order: Order) -> None:
        Jobs(session, tenant="main").enqueue(ours.nothing, order)

    return one


def _insert(database: Database) -> One:
    wide = twins.twins(database)[0]
    schema, _, name = wide.table.partition(".")
    statement = sa.insert(sa.table(name, *(sa.column(column) for column in wide.row), schema=schema))
    _open(database)

    def one(session: Session, order: Order) -> None:
        session.execute(statement, wide.values(twins.new_id(), order.model_dump_json()))

    return one


def _same_rows(database: Database) -> One:
    tables = twins.twins(database)
    statement = ", ".join(
        f"t{number} as (insert into {twin.table} ({twin.columns}) values ({_marks(number, twin.row)}))"
        for number, twin in enumerate(tables)
    )
    text = sa.text(f"with {statement} select 1")
    _open(database)

    def one(session: Session, order: Order) -> None:
        id_, payload = twins.new_id(), order.model_dump_json()
        values: dict[str, Any] = {}
        for number, twin in enumerate(tables):
            values |= {f"{name}_{number}": value for name, value in twin.values(id_, payload).items()}
        session.execute(text, values)

    return one


def _open(database: Database) -> None:
    with database.connect() as connection:
        connection.execute("grant usage on schema yard to jobforge_bench")
        connection.execute("grant all on all tables in schema yard to jobforge_bench")


def _marks(number: int, row: dict[str, Any]) -> str:
    return ", ".join(f":{name}_{number}" for name in row)


def cases(setting: Setting) -> list[Case]:
    """With a commit each, and in an open transaction."""
    each, together = setting.size(1_000, 100), setting.size(3_000, 200)
    systems = setting.without("by hand 500")
    return [
        Case(
            f"{each:,} or {SECONDS:.0f} s, in a transaction each",
            {system.name: _of(system, each) for system in systems} | {"raw INSERT": _raw(each)},
            EACH, plot="throughput",
        ),
        Case(
            f"{together:,} in one open transaction, through SQLAlchemy",
            {
                "Jobs.enqueue": _together(_enqueue, together),
                "by hand: bare INSERT": _together(_insert, together),
                "by hand: the same rows": _together(_same_rows, together),
            },
        ),
    ]  # fmt: skip
