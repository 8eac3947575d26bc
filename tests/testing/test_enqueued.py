"""`assert_enqueued` and `refute_enqueued`: what they find, and what they say when they do not."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import re
import uuid
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, bind_tenant
from jobforge_sa.errors import ConfigurationError, TenantRequired
from jobforge_sa.testing.enqueued import assert_enqueued, refute_enqueued
from jobforge_sa.testing.jobs import JobsUnderTest
from jobforge_sa.testing.pattern import differences, words
from tests.testing import shop
from tests.testing.shop import HOUR, Ship

MONDAY = dt.datetime(2031, 3, 3, 9, tzinfo=dt.UTC)
ID = r"[0-9a-f-]{36}"

single = JobForge(tenant="main")


class Bill(BaseModel):
    number: int = Field(validation_alias="no", serialization_alias="bill_no")


@single.task("bill")
def bill(ctx: Context, payload: Bill) -> None: ...


@pytest.fixture
def session(jobforge_session: Session) -> Session:
    bind_tenant(jobforge_session, "a")
    return jobforge_session


@pytest.fixture
def two(session: Session) -> Session:
    """Two orders to be shipped."""
    Jobs(session).enqueue(shop.ship, Ship(order_id=1, note="fragile", lines=[{"sku": "A", "n": 2}]))
    Jobs(session).enqueue(shop.ship, Ship(order_id=2), delay=HOUR, queue="slow")
    return session


def said(call: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        call(*arguments, **options)
    assert caught.traceback[-1].frame.code.raw.co_name in ("assert_enqueued", "refute_enqueued")
    return re.sub(ID, "ID", str(caught.value))


# -- patterns --------------------------------------------------------------------------


class Color(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    sku: str


VALUE: dict[str, Any] = {"n": 1, "yes": True, "none": None, "s": "fragile", "l": [{"sku": "A"}, 2], "d": {"x": 1.5}}
VALUE["p"] = "1.5"  # as pydantic stores a Decimal
SOME_ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    "pattern",
    [
        ..., {}, dict, {"n": 1}, {"n": int, "yes": bool}, {"yes": True, "none": None}, {"s": re.compile("^frag")},
        {"l": [{"sku": ...}, 2]}, {"l": ({"sku": "A"}, int)}, {"d": {"x": lambda x: x > 1}}, {"p": Decimal("1.5")},
        {"l": [Line("A"), 2]}, lambda payload: len(payload) == 7,
    ],
)  # fmt: skip
def test_these_match(pattern: Any) -> None:
    assert differences(pattern, VALUE) == []


@pytest.mark.parametrize(
    ("pattern", "value", "lines"),
    [
        ({"n": 2}, VALUE, ["n is 1, wanted 2"]),
        ({"m": ...}, VALUE, ["m is missing, wanted anything"]),
        ({"n": True}, VALUE, ["n is 1, wanted True"]),
        ({"yes": int}, VALUE, ["yes is True, wanted any int"]),
        ({"s": re.compile("^heavy")}, VALUE, ["s is 'fragile', wanted text like /^heavy/"]),
        ({"l": [{"sku": "B"}, 3]}, VALUE, ["l[0].sku is 'A', wanted 'B'", "l[1] is 2, wanted 3"]),
        ({"l": [...]}, VALUE, ["l is [{'sku': 'A'}, 2], wanted [anything]"]),
        ({"l": [Line("B"), ...]}, VALUE, ["l[0].sku is 'A', wanted 'B'"]),
        ({"d": Line("A")}, VALUE, ["d.sku is missing, wanted 'A'", "d.x is 1.5, wanted nothing"]),
        ({"d": {"x": str.isdigit}}, VALUE, ["d.x is 1.5, wanted what str.isdigit takes (it raised TypeError(*"]),
        ({"s": {"x": 1}}, VALUE, ["s is 'fragile', wanted {'x': 1}"]),
        ({"s": Color.RED}, {"s": "blue"}, ["s is 'blue', wanted 'red'"]),
        ({"s": SOME_ID}, {"s": "x"}, [f"s is 'x', wanted '{SOME_ID}'"]),
        ({"s": MONDAY}, {"s": None}, ["s is None, wanted '2031-03-03T09:00:00Z'"]),
    ],
)
def test_these_do_not_and_say_where(pattern: Any, value: Any, lines: list[str]) -> None:
    found = [str(one) for one in differences(pattern, value)]
    assert len(found) == len(lines)
    for one, line in zip(found, lines, strict=True):
        assert one.startswith(line.partition("*")[0]), one


def test_a_model_is_itself_and_nothing_else() -> None:
    stored = Ship(order_id=1).model_dump()
    assert differences(Ship(order_id=1), stored) == []
    assert [str(one) for one in differences(Ship(order_id=1, note="x"), stored)] == ["note is '', wanted 'x'"]
    assert [str(one) for one in differences(Ship(order_id=1), stored | {"more": 1})] == ["more is 1, wanted nothing"]


def test_a_pattern_is_said_in_words() -> None:
    assert words({"a": int, "b": [..., re.compile("x")]}) == "{'a': any int, 'b': [anything, text like /x/]}"


# -- what is found ---------------------------------------------------------------------


def test_it_gives_the_jobs_oldest_first(two: Session) -> None:
    first, second = assert_enqueued(two, shop.ship)
    assert (first.payload["order_id"], second.payload["order_id"]) == (1, 2)
    assert assert_enqueued(two, "ship", {"order_id": 2}) == [second]
    assert assert_enqueued(two, shop.ship, Ship(order_id=2), count=1, queue="slow", run_at=HOUR, state="scheduled")
    assert assert_enqueued(two, shop.ship, count=2)
    assert assert_enqueued(two, shop.ship, run_at=lambda moment: moment < second.run_at) == [first]
    assert assert_enqueued(two, shop.ship, run_at=second.run_at) == [second]
    refute_enqueued(two, shop.ship, {"order_id": 3})
    refute_enqueued(two, shop.ship, queue="slow", state="queued")
    refute_enqueued(two, shop.mail)


def test_what_has_run_was_enqueued_all_the_same(two: Session, jobs: JobsUnderTest) -> None:
    jobs.drain(raise_errors=False)
    jobs.assert_enqueued(shop.ship, {"order_id": 1}, state="scheduled")
    jobs.assert_enqueued(shop.ship, count=2)


def test_more_than_a_page_is_counted(session: Session, jobs: JobsUnderTest) -> None:
    Jobs(session).enqueue_many([shop.note.new({"n": n}) for n in range(1_200)])
    assert [job.payload["n"] for job in jobs.assert_enqueued(shop.note, count=1_200)] == [*range(1_200)]


def test_jobs_that_wait_for_a_flush_are_enqueued_by_it(session: Session, jobs: JobsUnderTest) -> None:
    Jobs(session).add(shop.note, {"n": 1})
    jobs.assert_enqueued(shop.note, {"n": 1})


def test_each_tenant_has_its_own_and_the_sessions_stays(two: Session) -> None:
    refute_enqueued(two, shop.ship, tenant="b")
    assert two.scalar(sa.text("select jobforge.current_tenant()")) == "a"
    Jobs(two).enqueue(shop.note, {})
    assert_enqueued(two, shop.note)


def test_without_a_tenant_nothing_is_proved(jobforge_connection: sa.Connection) -> None:
    with pytest.raises(TenantRequired):
        refute_enqueued(jobforge_connection, shop.ship)
    refute_enqueued(jobforge_connection, bill)  # its registry has one


def test_a_field_that_no_payload_has_is_no_proof_either(jobforge_connection: sa.Connection, two: Session) -> None:
    with pytest.raises(ConfigurationError, match="the payload of ship has no field 'oder_id'") as caught:
        refute_enqueued(two, shop.ship, {"oder_id": 1})
    assert caught.value.cure == "its fields: order_id, note, lines"
    refute_enqueued(two, shop.note, {"oder_id": 1})  # a dict may have any
    refute_enqueued(two, bill, {"bill_no": 1})  # as it is stored


# -- what is said ----------------------------------------------------------------------


def test_the_nearest_jobs_are_shown_with_the_difference(two: Session) -> None:
    assert said(assert_enqueued, two, shop.ship, {"order_id": 1, "note": "heavy"}, queue="default") == (
        "no job like this was enqueued\n"
        "  wanted: ship, {'order_id': 1, 'note': 'heavy'}, in queue 'default'\n"
        "  nearest, of 2:\n"
        "    ship {'order_id': 1, 'note': 'fragile', 'lines': [{'sku': 'A', 'n': 2}]}, queued in queue 'default' (ID)\n"
        "      note is 'fragile', wanted 'heavy'\n"
        "    ship {'order_id': 2, 'note': '', 'lines': []}, scheduled in queue 'slow', " + due(two) + " (ID)\n"
        "      order_id is 2, wanted 1\n"
        "      note is '', wanted 'heavy'\n"
        "      queue is 'slow', wanted 'default'"
    )


def due(session: Session) -> str:
    moment = assert_enqueued(session, shop.ship, queue="slow")[0].run_at
    return f"due {moment.isoformat(sep=' ', timespec='seconds')}"


def test_another_moment_is_shown_as_one(two: Session) -> None:
    message = said(assert_enqueued, two, shop.ship, {"order_id": 2}, run_at=2 * HOUR, state="queued")
    assert (
        "      state is 'scheduled', wanted 'queued'\n      run_at is 1:00:00 after its enqueue, wanted 2:00:00"
        in message
    )
    message = said(assert_enqueued, two, shop.ship, {"order_id": 1}, run_at=MONDAY)
    assert "wanted: ship, {'order_id': 1}, at 2031-03-03 09:00:00+00:00" in message


def test_where_none_is_of_the_type_the_others_are_counted(two: Session) -> None:
    assert said(assert_enqueued, two, shop.mail) == (
        "no job like this was enqueued\n  wanted: mail\n  enqueued: none of this type; 2 × ship"
    )
    assert said(assert_enqueued, two, shop.mail, tenant="b", count=2).endswith("none of this type; no job at all")


def test_another_number_is_said_with_the_jobs(two: Session) -> None:
    message = said(assert_enqueued, two, shop.ship, count=1)
    assert message.startswith("2 jobs were enqueued like this, and not 1:\n  wanted: ship\n    ship {'order_id': 1")
    assert said(assert_enqueued, two, shop.ship, {"order_id": 9}, count=3).startswith(
        "no job like this was enqueued, and not 3\n"
    )


def test_what_was_refuted_is_shown(two: Session) -> None:
    message = said(refute_enqueued, two, shop.ship, {"order_id": 2})
    assert message.startswith(
        "1 job was enqueued like this, and none should be:\n  refuted: ship, {'order_id': 2}\n    ship {'order_id': 2"
    )
