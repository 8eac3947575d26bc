"""How a run ended, said so that the database takes it: whatever a handler returns or raises, the run ends."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import json
import math
import uuid
from typing import Any

import pydantic
import pytest

from jobforge_sa.context import ClaimedJob
from jobforge_sa.tasks import JobForge, Task
from jobforge_sa.types import Cancel, Discard, Done, Outcome, Retry, Snooze
from jobforge_sa.worker import ending as endings
from jobforge_sa.worker.ending import Ending
from jobforge_sa.worker.errortext import MAX_TEXT
from jobforge_sa.worker.run import Run

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)
MAX_ERROR = 65_536  # bytes of an error that complete_jobs takes


class Model(pydantic.BaseModel):
    n: int
    at: dt.datetime = NOW


@dataclasses.dataclass
class Data:
    n: int


def item(ending: Ending) -> dict[str, Any]:
    """The item as the database reads it."""
    job = ClaimedJob(
        id=uuid.UUID(int=1),
        tenant_id="a",
        queue="default",
        type="t",
        priority=0,
        payload="{}",
        run=1,
        attempt=1,
        max_attempts=5,
        crashes=0,
        lease_token=uuid.UUID(int=2),
        claimed_at=NOW,
        deadline=NOW,
        timeout=None,
        run_at=NOW,
        created_at=NOW,
        idempotency_key=None,
        parent_id=None,
        trace=None,
    )
    task: Task[Any, Any] = Task(JobForge(), "t", print, dict[str, Any], {})
    text = ending.item(Run(job, task))
    text.encode()
    entry: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [uuid.UUID(entry.pop(name)).int for name in ("job_id", "lease_token")] == [1, 2]
    assert entry.pop("run_ms") == 0
    if "error" in entry:
        assert len(json.dumps(entry["error"], ensure_ascii=False).encode()) <= MAX_ERROR
        assert len(text.encode()) <= MAX_ERROR + 500
    return entry


# --- what a handler returns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (0, 0),
        ("", ""),
        (False, False),
        ([], []),
        ({"a": [1, None, "ü😀"]}, {"a": [1, None, "ü😀"]}),
        (Model(n=1), {"n": 1, "at": "2026-01-01T00:00:00Z"}),
        (Data(2), {"n": 2}),
        ((1, {2}), [1, [2]]),
        (uuid.UUID(int=7), str(uuid.UUID(int=7))),
        (decimal.Decimal("1.50"), "1.50"),
        (MINUTE, "PT1M"),
        (b"text", "text"),
        (Done(5), 5),
        (Done(Model(n=1)), {"n": 1, "at": "2026-01-01T00:00:00Z"}),
    ],
    ids=repr,
)
def test_a_value_is_the_result(value: object, result: object) -> None:
    assert item(endings.of_value(value)) == {"outcome": "succeeded", "result": result}


@pytest.mark.parametrize("value", [None, Done(), Done(None)], ids=repr)
def test_nothing_is_success_without_a_result(value: object) -> None:
    assert item(endings.of_value(value)) == {"outcome": "succeeded"}


def circle() -> object:
    value: list[object] = []
    value.append(value)
    return value


def depth() -> object:
    value: object = 0
    for _ in range(100_000):
        value = [value]
    return value


class Odd:
    pass


@pytest.mark.parametrize(
    "value",
    [Odd(), {"x": Odd()}, math.nan, [math.inf], "\ud800", {"\udfff": 1}, b"\xff", 10**5000, circle(), depth()],
    ids=["object", "inner", "NaN", "inf", "surrogate", "surrogate key", "bytes", "long int", "circle", "depth"],
)
def test_a_result_that_is_not_json_is_a_final_failure_that_says_so(value: object) -> None:
    entry = item(endings.of_value(value))

    assert (entry["outcome"], entry["final"], entry["error"]["type"]) == ("failed", True, "InvalidResult")
    assert entry["error"]["message"].startswith("the result is not JSON that can be stored: ")


@pytest.mark.parametrize("value", ["a\0b", {"\0": 1}, {"x": ["\\\0"]}], ids=repr)
def test_a_result_with_a_nul_is_sent_so_that_the_database_can_refuse_that_item_alone(value: object) -> None:
    assert item(endings.of_value(value)) == {"outcome": "succeeded", "result": value}


def test_a_text_that_merely_looks_like_a_nul_is_a_good_result() -> None:
    assert item(endings.of_value(r"\u0000")) == {"outcome": "succeeded", "result": r"\u0000"}


# --- outcomes, returned or raised --------------------------------------------------------------------------

OUTCOMES: list[tuple[Outcome, dict[str, Any]]] = [
    (Snooze(MINUTE), {"outcome": "snoozed", "delay": 60}),
    (Snooze(-MINUTE), {"outcome": "snoozed", "delay": 0}),
    (Retry("why"), {"outcome": "failed", "error": {"type": "Retry", "message": "why"}}),
    (Retry(after=MINUTE), {"outcome": "failed", "error": {"type": "Retry", "message": ""}, "delay": 60}),
    (Discard("why"), {"outcome": "failed", "error": {"type": "Discard", "message": "why"}, "final": True}),
    (Cancel("why"), {"outcome": "canceled", "error": {"type": "Cancel", "message": "why"}}),
    (Done([1]), {"outcome": "succeeded", "result": [1]}),
]


@pytest.mark.parametrize(("outcome", "entry"), OUTCOMES, ids=repr)
def test_an_outcome_means_the_same_returned_and_raised(outcome: Outcome, entry: dict[str, Any]) -> None:
    assert item(endings.of_value(outcome)) == entry
    assert item(endings.of_error(outcome)) == entry


@pytest.mark.parametrize("outcome", [Snooze(30), Retry(after=30), Snooze(None)], ids=repr)  # type: ignore[arg-type]
def test_an_outcome_with_a_delay_of_the_wrong_type_is_a_failure_and_no_crash_of_the_worker(outcome: Outcome) -> None:
    assert item(endings.of_error(outcome))["outcome"] == "failed"


@pytest.mark.parametrize("outcome", [Snooze(dt.timedelta.max), Retry(after=dt.timedelta.max)], ids=repr)
def test_a_delay_beyond_all_measure_is_one_that_the_database_takes(outcome: Outcome) -> None:
    assert item(endings.of_error(outcome))["delay"] < 10**9


# --- exceptions --------------------------------------------------------------------------------------------


def raised(error: BaseException) -> dict[str, Any]:
    """The entry of an error that was really raised."""
    try:
        raise error
    except BaseException as caught:
        entry = item(endings.of_error(caught))
    assert entry["outcome"] == "failed"
    assert "final" not in entry
    error_: dict[str, Any] = entry["error"]
    assert set(error_) <= {"type", "message", "traceback"}
    return error_


def test_an_exception_is_a_failure_with_its_type_message_and_traceback() -> None:
    error = raised(ValueError("wrong"))

    assert (error["type"], error["message"]) == ("ValueError", "wrong")
    assert "raise error" in error["traceback"]
    assert error["traceback"].rstrip().endswith("ValueError: wrong")


def test_values_of_variables_stay_out_of_the_record() -> None:
    secret = "hunter" + "2"

    def fail(password: str) -> None:
        raise ValueError("wrong")

    try:
        fail(secret)
    except ValueError as error:
        entry = item(endings.of_error(error))
    assert secret not in json.dumps(entry)


def test_nul_and_half_surrogate_pairs_are_replaced() -> None:
    error = raised(ValueError("a\0b\ud800c\udfff"))

    assert error["message"] == "a\ufffdb?c?"
    assert "\0" not in error["traceback"]


@pytest.mark.parametrize("character", ["x", "é", "中", "😀", "\x01", "\\", '"', "\0", "\ud800"], ids=ascii)
def test_ten_megabytes_of_any_text_become_what_the_database_takes(character: str) -> None:
    error = raised(ValueError("start " + character * 10_000_000 + " end"))

    assert error["message"].startswith("start ")
    assert error["message"].endswith(" end")
    assert len(error["message"]) <= MAX_TEXT + 10


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Wordless(Exception):
    def __str__(self) -> str:
        return None  # type: ignore[return-value]


class Endless(Exception):
    def __str__(self) -> str:
        return str(self)


class Quitting(Exception):
    def __str__(self) -> str:
        raise SystemExit


class Unprintable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("kind", [Mute, Wordless, Endless, Quitting, Unprintable])
def test_an_exception_that_cannot_say_what_it_is_is_recorded_by_its_type(kind: type[Exception]) -> None:
    error = raised(kind())

    assert error["type"] == kind.__name__


def test_a_chain_keeps_its_causes() -> None:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error
    except ValueError as error:
        entry = item(endings.of_error(error))
    assert "KeyError: 'first'" in entry["error"]["traceback"]


def test_exceptions_that_cause_each_other_end() -> None:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first

    assert raised(first)["message"] == "1"


def test_an_exception_group_says_what_is_in_it() -> None:
    inner = [ValueError("one\0"), ExceptionGroup("deep", [KeyError("two")])]
    error = raised(ExceptionGroup("both", inner))

    assert error["type"] == "ExceptionGroup"
    assert "ValueError: one" in error["traceback"]
    assert "KeyError: 'two'" in error["traceback"]


def test_a_large_and_deep_group_is_cut() -> None:
    group: Exception = ValueError("x" * 1000)
    for _ in range(30):
        group = ExceptionGroup("g", [group, *(ValueError("y" * 1000) for _ in range(20))])

    assert len(raised(group)["traceback"]) <= MAX_TEXT + 10


def test_a_recursion_without_end_is_a_failure() -> None:
    def dig(n: int) -> int:
        return dig(n + 1) + 1

    try:
        dig(0)
    except RecursionError as error:
        entry = item(endings.of_error(error))
    assert entry["error"]["type"] == "RecursionError"


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), MemoryError()], ids=repr)
def test_what_would_end_a_program_ends_the_run_alone(error: BaseException) -> None:
    assert raised(error)["type"] == type(error).__name__


def test_a_payload_that_does_not_fit_is_final_and_its_values_stay_out_of_the_record() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Model.model_validate({"n": "hunter2", "at": "yesterday"})
    entry = item(endings.of_payload(caught.value))

    assert (entry["outcome"], entry["final"], entry["error"]["type"]) == ("failed", True, "InvalidPayload")
    assert entry["error"]["message"].startswith("n: Input should be a valid integer")
    assert "; at: " in entry["error"]["message"]
    assert "hunter2" not in json.dumps(entry)


def test_a_payload_with_very_many_or_very_strange_faults_is_cut() -> None:
    class Strict(pydantic.BaseModel, extra="forbid"):
        pass

    for payload in ({f"k{n}": 1 for n in range(10_000)}, {"中" * 200_000: 1}, {"\0": 1}, {"\ud800": 1}):
        with pytest.raises(pydantic.ValidationError) as caught:
            Strict.model_validate(payload)
        assert item(endings.of_payload(caught.value))["final"] is True


def test_a_refused_completion_is_final_and_says_why() -> None:
    entry = item(endings.refused("the result has more than 262144 bytes"))

    assert (entry["outcome"], entry["final"]) == ("failed", True)
    assert "262144" in entry["error"]["message"]
