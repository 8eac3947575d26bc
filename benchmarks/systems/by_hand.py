"""The yardstick: SQL as somebody writes it who needs no tenants, leases, retries or limits.

`yard.queue` is the queue that fits on a page: one table, a state column, SKIP LOCKED, batches, one plain psycopg loop.
It has one FIFO over all tenants and no fairness, no lease (a killed worker's jobs stay `running` for ever), no retry,
no attempt on record, no row level security, no heartbeat, and a handler that raises takes its whole batch along.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import psycopg

from benchmarks.board import Heard
from benchmarks.orders import Order
from benchmarks.systems.system import Database, Plain, Producer, Purpose, System

SCHEMA: Final = """
create schema yard;
create table yard.queue (
    id          bigint generated always as identity primary key,
    tenant_id   text        not null,
    type        text        not null,
    payload     json        not null,
    state       text        not null default 'queued',
    created_at  timestamptz not null default now(),
    started_at  timestamptz,
    finished_at timestamptz
);
create index queue_waiting on yard.queue (id) where state = 'queued';
"""
ENQUEUE: Final = "insert into yard.queue (tenant_id, type, payload) values ('main', 'nothing', %s)"
COPY: Final = "copy yard.queue (tenant_id, type, payload) from stdin"
WAKE: Final = "notify yard"

# "in (select ...)" would be planned as a hash join over the whole table
CLAIM: Final = """
update yard.queue set state = 'running', started_at = now()
 where id = any (array(select id from yard.queue where state = 'queued' order by id limit %s for update skip locked))
returning id, payload::text"""
COMPLETE: Final = "update yard.queue set state = 'succeeded', finished_at = now() where id = any (%s)"


class ByHand(System):
    """A loop over batches."""

    name = "by hand"
    package = "psycopg"
    settings = "one connection, batches of 100, LISTEN; the payload validated with pydantic, as ours is"
    channel = "yard"
    completed = "select count(*) from yard.queue where state = 'succeeded'"
    copies = {"yard.queue": {"id": ""}}  # noqa: RUF012

    batch = 100

    def install(self, database: Database) -> None:
        """One table."""
        with database.connect() as connection:
            connection.execute(SCHEMA)

    @contextlib.contextmanager
    def producer(self, database: Database) -> Iterator[Producer]:
        """INSERT and NOTIFY in a transaction, or COPY."""
        with database.connect() as connection:

            def one(order: Order) -> None:
                with connection.transaction():
                    connection.execute(ENQUEUE, (order.model_dump_json(),))
                    connection.execute(WAKE)

            def many(orders: Sequence[Order]) -> None:
                with connection.transaction(), connection.cursor() as cursor:
                    with cursor.copy(COPY) as copy:
                        for order in orders:
                            copy.write_row(("main", "nothing", order.model_dump_json()))
                    connection.execute(WAKE)

            yield Plain(one, many)

    def work(self, database: Database, heard: Heard, purpose: Purpose) -> None:  # noqa: ARG002
        """Work off what there is, then LISTEN; look once a second without having heard anything."""
        with database.connect() as connection:
            connection.execute("listen yard")
            while True:
                while self._batch(connection, heard):
                    pass
                for _ in connection.notifies(timeout=1.0, stop_after=1):
                    pass

    def _batch(self, connection: psycopg.Connection[Any], heard: Heard) -> int:
        """Claim a batch, run it, complete it: three statements, two of which wait for the disk."""
        claimed = connection.execute(CLAIM, (self.batch,)).fetchall()
        for _, payload in claimed:
            heard(Order.model_validate_json(payload).number)
        if claimed:
            connection.execute(COMPLETE, ([id_ for id_, _ in claimed],))
        return len(claimed)


class ByHandLarge(ByHand):
    """With batches of 500."""

    name = "by hand 500"
    settings = "the same with batches of 500"
    batch = 500


SYSTEM = ByHand()
LARGE = ByHandLarge()
