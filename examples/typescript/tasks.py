"""The Python half of the example: it sends receipts, and knows what the Node half prints.

`forge` is what a Python worker runs. `elsewhere` has the tasks whose handlers are Node's: a registry of its own, so
that Python can enqueue them, with payloads that are checked, and no Python worker ever claims one.
"""

from __future__ import annotations

from typing import Annotated, NoReturn

from pydantic import BaseModel, Field

from jobforge_sa import Context, JobForge

forge = JobForge()
elsewhere = JobForge()


class Receipt(BaseModel):
    order: int
    to: str
    total: Annotated[str, Field(pattern=r"^\d+$")]  # in cents, as text: a JSON number of JavaScript's ends at 2^53


class Label(BaseModel):
    order: int
    name: str
    weight: Annotated[str, Field(pattern=r"^\d+$")]  # in micrograms


class Booking(BaseModel):
    order: int
    carrier: str


class Watch(BaseModel):
    order: int
    seconds: Annotated[float, Field(gt=0)]


@forge.task("receipt.send", queue="shop")
def send_receipt(ctx: Context, payload: Receipt) -> dict[str, str]:
    return {"sent_to": payload.to, "total": payload.total}


def _in_node(name: str) -> NoReturn:
    raise NotImplementedError(f"{name} is for the worker in examples/typescript")


@elsewhere.task("label.print", queue="shop")
def print_label(ctx: Context, payload: Label) -> dict[str, str]:
    _in_node("label.print")


@elsewhere.task("carrier.book", queue="shop", max_attempts=3)
def book_carrier(ctx: Context, payload: Booking) -> None:
    _in_node("carrier.book")


@elsewhere.task("carrier.watch", queue="shop")
def watch_carrier(ctx: Context, payload: Watch) -> None:
    _in_node("carrier.watch")


everything = JobForge()  # for `jobforge schemas`
everything.include(forge)
everything.include(elsewhere)
