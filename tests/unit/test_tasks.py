"""Tasks and their registry: names, signatures, and a payload that is the same when it comes back."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import functools
import math
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, cast

import pydantic
import pytest

from jobforge_sa import AsyncContext, Context, JobForge, Task
from jobforge_sa.errors import ConfigurationError, InvalidPayload
from jobforge_sa.tasks import MAX_PAYLOAD_BYTES


class Ship(pydantic.BaseModel):
    order_id: int
    note: str = ""


def handler(ctx: Context, payload: Ship) -> int:
    return payload.order_id


def task_of(payload_type: Any) -> Task[Any, Any]:
    return Task(JobForge(), "t", handler, payload_type, {})


# --- the registry ------------------------------------------------------------------------------------------


def test_a_task_is_known_by_its_name_and_calling_it_calls_the_handler() -> None:
    forge = JobForge()
    task = forge.task("orders.ship", queue="mail", max_attempts=3)(handler)

    assert forge.tasks == {"orders.ship": task}
    assert list(forge) == [task]
    assert (task.name, task.queue, task.is_async, repr(task)) == ("orders.ship", "mail", False, "<Task orders.ship>")
    assert task(None, Ship(order_id=7)) == 7


def test_a_task_without_a_name_has_its_functions_and_the_default_queue() -> None:
    task = JobForge().task()(handler)

    assert (task.name, task.queue) == ("handler", "default")


def test_an_async_handler_is_known_as_one() -> None:
    async def work(ctx: AsyncContext, payload: dict[str, Any]) -> None: ...

    assert JobForge().task()(work).is_async


def test_a_name_is_given_once() -> None:
    forge = JobForge()
    forge.task("x")(handler)
    with pytest.raises(ConfigurationError, match="a task 'x' already"):
        forge.task("x")(handler)


def test_the_registry_cannot_be_changed_from_outside() -> None:
    forge = JobForge()
    with pytest.raises(TypeError):
        forge.tasks["x"] = task_of(Ship)  # type: ignore[index]


def test_a_registry_takes_over_anothers_tasks_all_or_none() -> None:
    mine, library, rival = JobForge(), JobForge(), JobForge()
    mine.task("a")(handler)
    library.task("b")(handler)
    mine.include(library)
    assert list(mine.tasks) == ["a", "b"]
    rival.task("c")(handler)
    rival.task("a")(handler)
    with pytest.raises(ConfigurationError, match="'a' already"):
        mine.include(rival)

    assert list(mine.tasks) == ["a", "b"]


@pytest.mark.parametrize("name", [" ", "a b", "ü", "x\n", ".x", "-x", ":x", "x" * 101, "a/b", "a\0"])
def test_a_name_that_the_database_would_refuse_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="no name for a task"):
        JobForge().task(name)(handler)


def test_an_option_that_no_task_has_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match=r"no option 'retries'(?s:.)*options: debounce, max_attempts"):
        JobForge().task(retries=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["x" * 100, "connector.http.request", "a:b-c_d", "0", "_"])
def test_a_name_that_the_database_takes_is_taken(name: str) -> None:
    assert JobForge().task(name)(handler).name == name


def test_the_decorator_needs_its_parentheses() -> None:
    with pytest.raises(ConfigurationError, match=r"@forge.task\(\)"):
        JobForge().task(handler)  # type: ignore[call-overload, arg-type, unused-ignore]


def test_a_payload_that_no_json_is_and_a_handler_that_is_no_function_are_refused() -> None:
    class Order:
        """Such as a mapped class."""

    def ship(ctx: Context, order: Any) -> None: ...

    ship.__annotations__["order"] = Order
    with pytest.raises(ConfigurationError, match=r"(?s)payload of ship.*Row\[Order\]"):
        JobForge().task()(ship)
    for wrong in (functools.partial(ship), object(), None):
        with pytest.raises(ConfigurationError, match="a handler is a function"):
            JobForge().task("x")(cast(Any, wrong))


def no_payload(ctx: Context) -> None: ...
def too_many(ctx: Context, payload: Ship, more: int) -> None: ...
def by_keyword(ctx: Context, *, payload: Ship) -> None: ...
def by_star(ctx: Context, *payload: Ship) -> None: ...
def no_annotation(ctx: Context, payload) -> None: ...  # type: ignore[no-untyped-def]
def unknown_annotation(ctx: Context, payload: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("wrong", [no_payload, too_many, by_keyword, by_star, no_annotation, unknown_annotation])
def test_a_handler_of_another_shape_is_refused_with_the_shape_that_works(wrong: Callable[..., Any]) -> None:
    forge = JobForge()
    with pytest.raises(ConfigurationError, match=f"{wrong.__name__}(.|\n)*cure: "):
        forge.task()(wrong)
    assert forge.tasks == {}


# --- the payload, there and back ---------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: float


class Aliased(pydantic.BaseModel):
    order_id: int = pydantic.Field(alias="orderId")


class TwoNames(pydantic.BaseModel):
    order_id: int = pydantic.Field(validation_alias="orderId")


class Closed(pydantic.BaseModel, extra="forbid"):
    n: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return self.n * 2


class Price(pydantic.BaseModel):
    x: float


class Strict(pydantic.BaseModel, strict=True):
    at: dt.datetime
    id: uuid.UUID
    color: Color


class Raw(pydantic.BaseModel):
    document: pydantic.Json[list[int]]


class Secret(pydantic.BaseModel):
    token: pydantic.SecretStr


class Cat(pydantic.BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"] = "dog"


class Pet(pydantic.BaseModel):
    pet: Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


AT = dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC)
GOOD: list[tuple[Any, Any]] = [
    (Ship, Ship(order_id=1, note="ü😀\u202e")),
    (Point, Point(1, 0.1)),
    (dict[str, Any], {"a": [1, None, {"b": 1.5}], "": r"\u0000"}),
    (dict[uuid.UUID, dt.timedelta], {uuid.UUID(int=1): dt.timedelta(days=-1, microseconds=3)}),
    (dict[str, decimal.Decimal], {"a": decimal.Decimal("1.10")}),
    (dict[str, bytes], {"a": b"text"}),
    (Strict, Strict(at=AT, id=uuid.UUID(int=2), color=Color.RED)),
    (Pet, Pet(pet=Dog())),
    (Aliased, Aliased.model_validate({"orderId": 1})),
    (Closed, Closed(n=2)),
    (Raw, Raw(document="[1, 2]")),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("payload_type", "payload"), GOOD, ids=repr)
def test_a_payload_that_may_be_enqueued_is_the_same_when_it_is_run(payload_type: Any, payload: Any) -> None:
    task = task_of(payload_type)

    assert task.load(task.dump(payload)) == payload


@pytest.mark.parametrize(
    ("payload_type", "payload"),
    [
        (Secret, Secret(token=pydantic.SecretStr("s3cret"))),  # dumped as stars
        (TwoNames, TwoNames.model_validate({"orderId": 1})),  # dumped by one name, read by another
    ],
    ids=repr,
)
def test_what_would_not_come_back_the_same_is_refused_and_not_lost_in_silence(payload_type: Any, payload: Any) -> None:
    task = task_of(payload_type)
    try:
        text = task.dump(payload)
    except InvalidPayload:
        return
    assert task.load(text) == payload


def test_a_payload_may_be_given_as_what_validates() -> None:
    assert task_of(Ship).dump({"order_id": "7"}) == '{"order_id":7,"note":""}'


def test_a_model_that_was_changed_into_something_wrong_is_refused() -> None:
    payload = Ship(order_id=1)
    payload.order_id = "x"  # type: ignore[assignment]
    with pytest.raises(InvalidPayload):
        task_of(Ship).dump(payload)
    with pytest.raises(InvalidPayload):
        task_of(Ship).dump(Ship.model_construct(note="no order"))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("payload_type", [dict[str, float], dict[str, Any], Price], ids=["float", "Any", "model"])
def test_a_number_that_json_has_not_is_refused_and_not_replaced_by_null(payload_type: Any, number: float) -> None:
    with pytest.raises(InvalidPayload, match="cure: "):
        task_of(payload_type).dump({"x": number})


@pytest.mark.parametrize(
    ("payload_type", "payload"),
    [
        (list[int], [1]),
        (int, 1),
        (str, "x"),
        (Any, None),
        (dict[str, Any], {"x": "\0"}),
        (dict[str, Any], {"\0": "x"}),
        (dict[str, Any], {"x": "\ud800"}),
        (dict[str, Any], {"x": object()}),
        (dict[str, Any], {1: 2}),
        (dict[str, Any], {"x": 10**5000}),
        (dict[str, bytes], {"x": b"\xff"}),
    ],
)
def test_what_cannot_be_stored_is_refused(payload_type: Any, payload: Any) -> None:
    with pytest.raises(InvalidPayload, match="cure: "):
        task_of(payload_type).dump(payload)


def test_a_payload_has_at_most_256_kilobytes_as_it_is_sent() -> None:
    task = task_of(dict[str, str])
    room = MAX_PAYLOAD_BYTES - len('{"a":""}')

    assert len(task.dump({"a": "x" * room}).encode()) == MAX_PAYLOAD_BYTES
    assert len(task.dump({"a": "ü" * (room // 2)}).encode()) <= MAX_PAYLOAD_BYTES
    for payload in ({"a": "x" * (room + 1)}, {"a": "ü" * (room // 2 + 1)}):
        with pytest.raises(InvalidPayload, match="262144 are allowed"):
            task.dump(payload)


@pytest.mark.parametrize("depth", [100, 190, 250, 400, 900, 100_000])
def test_a_deep_payload_is_refused_when_enqueued_or_can_be_run(depth: int) -> None:
    payload: Any = {}
    for _ in range(depth):
        payload = {"x": payload}
    task = task_of(dict[str, Any])
    try:
        text = task.dump(payload)
    except InvalidPayload:
        assert depth > 100
        return
    assert task.load(text)


def test_an_error_about_a_payload_names_the_task_and_the_field() -> None:
    with pytest.raises(InvalidPayload, match=r"(?s)payload of t cannot be enqueued.*order_id.*cure: "):
        task_of(Ship).dump({})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"order_id": "x"}', '{"order_id": ' + "9" * 5000 + "}"])
def test_a_stored_payload_that_does_not_fit_any_more_is_a_validation_error(text: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        task_of(Ship).load(text)


@pytest.mark.parametrize("name", ["ordering_key", "unique_key"])
@pytest.mark.parametrize("key", ["", 5, "x" * 201, "\x00"])
def test_a_key_that_cannot_be_one_is_refused_where_it_is_declared(name: str, key: Any) -> None:
    forge = JobForge()
    with pytest.raises(ConfigurationError, match=name) as caught:
        forge.task(**{name: key})(handler)
    assert "1 to 200 characters" in caught.value.cure
    for good in ("x" * 200, None, str):
        forge.task(f"t{len(forge.tasks)}", **{name: good})(handler)  # type: ignore[arg-type]
