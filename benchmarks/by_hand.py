"""The other side: SQL as somebody writes it who needs no tenants, leases, retries or limits. The yardstick.

`yard.jobs` and `yard.ready` are equal to our tables, for the writes alone. `yard.queue` is the queue that fits on
a page: one table, a state column, SKIP LOCKED, batches, one plain psycopg loop. It has one FIFO over all tenants and
no fairness, no lease (a killed worker's jobs stay `running` for ever), no retry, no attempt on record, no row level
security, no heartbeat, and a handler that raises takes its whole batch along.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final

import psycopg

from benchmarks.ours import Order

SCHEMA: Final = """
create schema yard;
create table yard.jobs (like jobforge.jobs including indexes including constraints);
create table yard.ready (like jobforge.ready including indexes including constraints including generated);
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

FILL: Final = "insert into yard.queue (tenant_id, type, payload) select t, 'nothing', p::json from unnest(%s::text[], %s::text[]) as u (t, p)"  # fmt: skip  # noqa: E501
ENQUEUE: Final = "insert into yard.queue (tenant_id, type, payload) values ('main', 'nothing', %s)"

# "in (select ...)" would be planned as a hash join over the whole table
CLAIM: Final = """
update yard.queue set state = 'running', started_at = now()
 where id = any (array(select id from yard.queue where state = 'queued' order by id limit %s for update skip locked))
returning id, payload::text"""
UPDATE: Final = "update yard.queue set state = 'succeeded', finished_at = now() where id = any (%s)"
DELETE: Final = "delete from yard.queue where id = any (%s)"


def fill(connection: psycopg.Connection[Any], jobs: Iterable[tuple[str, str]]) -> None:
    """Enqueue (tenant, payload) pairs, in one statement."""
    tenants, payloads = zip(*jobs, strict=True)
    connection.execute(FILL, (list(tenants), list(payloads)))


def nothing(_payload: Order) -> None:
    """The handler."""


def work(connection: psycopg.Connection[Any], batch: int, end: str, handler: Callable[[Order], None] = nothing) -> int:
    """Claim a batch, run it, complete it: three statements, two of which wait for the disk."""
    claimed = connection.execute(CLAIM, (batch,)).fetchall()
    for _, payload in claimed:
        handler(Order.model_validate_json(payload))
    if claimed:
        connection.execute(end.encode(), ([id_ for id_, _ in claimed],))
    return len(claimed)


def drain(dsn: str, jobs: int, batch: int, end: str) -> float:
    """Seconds from before the connection until the last completion is answered. Runs in a process of its own."""
    began = time.monotonic()
    done = 0
    with psycopg.connect(dsn, autocommit=True) as connection:
        while done < jobs:
            done += work(connection, batch, end)
    return time.monotonic() - began


def new_id() -> uuid.UUID:
    """A UUIDv7, as ours are: random keys would make the hand-written side's indexes slower than they need be."""
    stamp = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10))
    return uuid.UUID(int=stamp << 80 | 7 << 76 | (noise >> 68) << 64 | 2 << 62 | noise & ((1 << 62) - 1))
