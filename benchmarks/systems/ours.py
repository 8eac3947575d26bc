"""Ours, as it comes: history, row level security and fairness on; the payload validated, an attempt on record."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from benchmarks.board import Heard
from benchmarks.orders import ANYONE, Order, orders
from benchmarks.systems.system import Database, Plain, Producer, Purpose, System
from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.db import migrate

# one role for both sides of a queue; without it everything would run as the superuser, whom no policy binds
ROLE = """do $$ begin
    create role jobforge_bench in role jobforge_app, jobforge_worker;
exception when duplicate_object then null; end $$;
grant jobforge_bench to current_user"""
CHUNK = 50_000

forge = JobForge()


@forge.task()
def nothing(_ctx: Context, _payload: Order) -> None:
    """What is enqueued."""


class Ours(System):
    """jobforge_sa."""

    name = "jobforge_sa"
    package = "jobforge_sa"
    settings = "all defaults: `Worker(url, forge)` with its 10 handler threads; ten tenants, unless a question says"
    channel = "jobforge"
    completed = "select count(*) from jobforge.outcomes where state = 'succeeded'"

    def install(self, database: Database) -> None:
        """Migrate, and make the role."""
        migrate.upgrade(
            sa.create_engine("postgresql+psycopg" + database.dsn.removeprefix("postgresql"), poolclass=sa.NullPool)
        )
        with database.connect() as connection:
            connection.execute(ROLE)

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """A SQLAlchemy connection."""
        with database.engine().connect() as connection:
            jobs = Jobs(connection, tenant="main")

            def one(order: Order) -> None:
                jobs.enqueue(nothing, order)
                connection.commit()

            def many(orders: Sequence[Order]) -> None:
                jobs.enqueue_many(nothing.new(order) for order in orders)
                connection.commit()

            yield Plain(one, many)

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:
        """Our worker."""
        mine = JobForge()

        @mine.task("nothing")
        def clocked(_ctx: Context, payload: Order) -> None:
            heard(payload.number)
            if purpose is Purpose.FIFTY:
                time.sleep(0.02)  # so that all threads are needed

        with Worker(database.url, mine, concurrency=50) if purpose is Purpose.FIFTY else Worker(database.url, mine):
            threading.Event().wait()

    def fill(self, database: Database, jobs: int, tenants: int = 10) -> None:
        """Enqueue them, tenant by tenant."""
        with database.engine().connect() as connection:
            for tenant, count in split(jobs, tenants).items():
                for start in range(0, count, CHUNK):
                    some = orders([ANYONE]) * min(CHUNK, count - start)
                    Jobs(connection, tenant=tenant).enqueue_many(nothing.new(order) for order in some)
                    connection.commit()


def split(jobs: int, tenants: int) -> dict[str, int]:
    """How many jobs each tenant has."""
    return {f"tenant-{number:04d}": jobs // tenants for number in range(tenants)}


SYSTEM = Ours()
