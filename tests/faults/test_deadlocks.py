"""Two handlers that lock the same rows in opposite order: Postgres undoes one, which is repeated and not charged."""

from __future__ import annotations

import threading

import sqlalchemy as sa

from jobforge_sa import Context, JobForge, Worker
from tests.faults.ground import QUICK, enqueue
from tests.fix_postgres import Database

ADD = sa.text("update tallies set n = n + 1 where id = :id")


def test_fault_024_handlers_that_deadlock_all_succeed_at_their_first_attempt(database: Database) -> None:
    with database.engine().begin() as connection:
        connection.exec_driver_sql("create table tallies (id int primary key, n int not null)")
        connection.exec_driver_sql("insert into tallies values (0, 0), (1, 0)")
        connection.exec_driver_sql("grant all on tallies to jf_one")
    forge, both, turns = JobForge(tenant="a"), threading.Barrier(2), list[int]()

    @forge.task(max_attempts=1)
    def crosswise(ctx: Context, payload: dict[str, int]) -> None:
        first = payload["n"]
        turns.append(first)
        ctx.session.execute(ADD, {"id": first})
        if len(turns) <= 2:
            both.wait(10)  # each has the row that the other wants
        ctx.session.execute(ADD, {"id": 1 - first})

    engine = database.engine("jf_one")
    with Worker(engine, forge, **QUICK) as worker:
        for n in range(2):
            enqueue(engine, crosswise, n)
        assert worker.drain(20)
    assert worker.outcomes == {"succeeded": 2}
    assert len(turns) == 3, "one of them was repeated"
    with database.engine().connect() as connection:
        assert list(connection.scalars(sa.text("select n from tallies"))) == [2, 2]
        assert list(connection.scalars(sa.text("select attempt from jobforge.attempts"))) == [1, 1]
