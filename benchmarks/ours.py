"""Our side: a task that does nothing but have its payload validated, and workers in processes of their own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import pydantic
import sqlalchemy as sa

from jobforge_sa import Context, JobForge, Jobs, Worker

PATIENCE = 300.0  # seconds after which a drain has failed


class Order(pydantic.BaseModel):
    """The payload: some 200 bytes of JSON."""

    number: int
    customer: str
    lines: list[str]
    total: float


def order(number: int) -> Order:
    """An order like any other."""
    return Order(
        number=number,
        customer=f"customer-{number % 977}@example.com",
        lines=[f"{number % 7 + 1} x article {(number * 31 + place) % 9973:05d}" for place in range(5)],
        total=number % 10_000 / 100,
    )


forge = JobForge()


@forge.task()
def nothing(_ctx: Context, _payload: Order) -> None:
    """The handler."""


def fill(engine: sa.Engine, tenants: dict[str, range]) -> None:
    """Enqueue jobs, tenant after tenant."""
    for tenant, numbers in tenants.items():
        with engine.begin() as connection:
            Jobs(connection, tenant=tenant).enqueue_many(nothing.new(order(number)) for number in numbers)


def drain(url: str, jobs: int) -> float:
    """Seconds from before the worker's start until the last completion is answered. Runs in a process of its own."""
    worker = Worker(url, forge)
    began = time.monotonic()
    with worker:
        while worker.outcomes["succeeded"] < jobs:
            if time.monotonic() - began > PATIENCE:
                raise TimeoutError(f"after {PATIENCE:.0f} s: {dict(worker.outcomes)} of {jobs}")
            time.sleep(0.001)
        return time.monotonic() - began


def split(jobs: int, tenants: int) -> dict[str, range]:
    """Numbers of jobs for so many tenants."""
    each = jobs // tenants
    return {f"tenant-{number:04d}": range(number * each, (number + 1) * each) for number in range(tenants)}


def pairs(tenants: dict[str, range]) -> Iterator[tuple[str, str]]:
    """The same jobs for the hand-written side: tenant by tenant, payload as JSON."""
    yield from ((tenant, order(n).model_dump_json()) for tenant, numbers in tenants.items() for n in numbers)


def payloads(numbers: Iterable[int]) -> list[Order]:
    """Payloads made beforehand: what the application has anyway is not measured."""
    return [order(number) for number in numbers]
