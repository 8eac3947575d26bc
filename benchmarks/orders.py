"""What all queues carry: an order, some 200 bytes of JSON."""

from __future__ import annotations

from collections.abc import Iterable

import pydantic

ANYONE = -1  # the number of an order whose moment nobody asks for, such as one of a backlog


class Order(pydantic.BaseModel):
    """The payload."""

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


def orders(numbers: Iterable[int]) -> list[Order]:
    """Orders made beforehand: what an application has anyway is not measured."""
    return [order(number) for number in numbers]
