"""What an enqueue may say of a job, checked before it is sent: the error comes with the line that is wrong."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Callable
from typing import Any, NoReturn

from jobforge_sa.errors import InvalidJob
from jobforge_sa.tasks import NAME, JobOptions, Task
from jobforge_sa.tenant import is_key, is_text
from jobforge_sa.types import Delays, Exponential

EARLIEST, LATEST = dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(3000, 1, 1, tzinfo=dt.UTC)
MONTH = dt.timedelta(days=30)

_KNOWN = frozenset(JobOptions.__annotations__) | frozenset(JobOptions.__optional_keys__)


def resolve(defaults: Any, options: Any) -> dict[str, Any]:
    """A task's options with a job's over them, as the arguments of `enqueue_job`. What is None is left out.

    Raises:
        InvalidJob: an option is unknown or cannot work.
    """
    merged = {**defaults, **options}
    if not merged:
        return merged
    if "unique_key" in options and options["unique_key"] is None:  # switched off, with what the task says of duplicates
        merged |= {name: options.get(name) for name in ("on_duplicate", "debounce")}
    for name in merged.keys() - _KNOWN:
        _refuse(f"there is no option {name!r}", f"options: {', '.join(sorted(_KNOWN))}")
    values = {name: value for name, value in merged.items() if value is not None}
    for name in values:
        if name in _CHECKS:
            values[name] = _CHECKS[name](values[name])
    if "debounce" in values:
        _debounce(values)
    if "run_at" in values and "delay" in values:
        _refuse("run_at and delay are both given", "give one of them")
    if "on_duplicate" in values and "unique_key" not in values:
        _refuse("on_duplicate is given without a unique_key", "give both")
    if "unique_key" in values and "idempotency_key" in values:
        _refuse("unique_key and idempotency_key are both given", "switch one of them off: unique_key=None")
    return values


def options_of(task: Task[Any, Any], options: Any) -> dict[str, Any]:
    """The options of one of a task's jobs; where it says none of its own always the same ones, which nobody changes."""
    if options:
        return resolve(task.options, options)
    if task.resolved is None:
        task.resolved = resolve(task.options, {})
    return task.resolved


def _debounce(values: dict[str, Any]) -> None:
    others = [name for name in ("run_at", "delay", "on_duplicate") if name in values]
    if others or "unique_key" not in values:
        _refuse(
            f"debounce is given {f'beside {others[0]}' if others else 'without a unique_key'}",
            "it is a delay with on_duplicate='replace': give it with a unique_key, and without these",
        )
    values |= {"delay": values.pop("debounce"), "on_duplicate": "replace"}


def as_item(values: dict[str, Any]) -> dict[str, Any]:
    """The same for an item of `enqueue_jobs`: what JSON has no type for becomes text that Postgres reads."""
    item = dict(values)
    for name, value in values.items():
        if isinstance(value, dt.timedelta):
            item[name] = f"{value.total_seconds():.6f} seconds"
        elif isinstance(value, dt.datetime):
            item[name] = value.isoformat()
    if "retry" in item:
        item["retry"] = json.loads(item["retry"])
    return item


def _refuse(what: str, cure: str) -> NoReturn:
    raise InvalidJob(what, cure=f"{cure}; nothing was enqueued")


def _whole(name: str, low: int, high: int) -> Any:
    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _refuse(f"{name} is {value!r}", f"pass a whole number from {low} to {high}")
        return value

    return check


def _queue(value: object) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        _refuse(f"{str(value)[:100]!r} is no name for a queue", "use 1 to 100 of A-Z a-z 0-9 _ . : -")
    return value


def called(name: str, value: object) -> str | None:
    """A filter that is the name of a queue or a task.

    Raises:
        InvalidJob: nothing can have that name, so that it would fit nothing.
    """
    if value is None or (isinstance(value, str) and NAME.fullmatch(value)):
        return value
    cure = "use 1 to 100 of A-Z a-z 0-9 _ . : - as in the name that was enqueued"
    raise InvalidJob(f"{str(value)[:100]!r} is no name for a {name}", cure=cure)


def word(name: str, value: object) -> str | None:
    """A filter that is compared as it is.

    Raises:
        InvalidJob: no column can hold it.
    """
    if value is None:
        return None
    if not isinstance(value, str) or "\x00" in value or not is_text(value):
        raise InvalidJob(f"{name} is {value!r}", cure="pass a str without NUL")
    return str(value)


def identifier(name: str, value: object) -> uuid.UUID:
    """The id of a job; its text will do.

    Raises:
        InvalidJob: it is none.
    """
    try:
        return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))
    except ValueError as error:
        raise InvalidJob(f"{name} is {str(value)[:50]!r}", cure="pass the UUID of a job") from error


def moment(name: str, after: str = "") -> Callable[[object], dt.datetime]:
    """A check for an aware datetime; `after` ends its cure."""

    def check(value: object) -> dt.datetime:
        if not isinstance(value, dt.datetime):
            raise InvalidJob(f"{name} is a {type(value).__name__}", cure=f"pass an aware datetime{after}")
        if value.tzinfo is None or value.utcoffset() is None:
            raise InvalidJob(
                f"{name} {value.isoformat()} has no time zone",
                cure=f"pass an aware one, datetime.now(UTC){after}",
            )
        if not EARLIEST <= value < LATEST:
            raise InvalidJob(
                f"{name} {value.isoformat()} is out of range",
                cure=f"pass one of the years 1970 to 2999{after}",
            )
        return value

    return check


def _duration(name: str, low: dt.timedelta, high: dt.timedelta) -> Any:
    def check(value: object) -> dt.timedelta:
        if not isinstance(value, dt.timedelta):
            _refuse(f"{name} is a {type(value).__name__}", f"pass a timedelta: {name}=timedelta(seconds=...)")
        if not low <= value <= high:
            _refuse(f"{name} is {value}", f"pass a timedelta from {low} to {high}")
        return value

    return check


def _key(name: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if not isinstance(value, str):
            _refuse(
                f"the {name} is of the type {type(value).__name__}: {str(value)[:40]}",
                "pass a str of 1 to 200 characters, or a function that gives one",
            )
        if not is_key(value):
            _refuse(f"the {name} {value[:40]!r} cannot be one", "pass a str of 1 to 200 characters without NUL")
        return value

    return check


unique_key = _key("unique key")
ordering_key = _key("ordering key")


def _on_duplicate(value: object) -> str:
    if value not in ("keep", "replace", "merge"):
        _refuse(f"on_duplicate is {str(value)[:40]!r}", "pass keep, replace or merge")
    return str(value)


def _retry(value: object) -> str:
    match value:
        case Exponential():
            times = [value.base, value.max]
            sound = 1 <= value.factor <= 100 and 0 <= value.jitter <= 1
        case Delays():
            times = list(value.delays)
            sound = 1 <= len(times) <= 100
        case _:
            _refuse(f"retry is a {type(value).__name__}", "pass Exponential(...) or Delays(...)")
    if not sound or any(not dt.timedelta(0) <= time <= MONTH for time in times):
        _refuse(
            f"retry is {value!r}",
            "pass times of 0 to 30 days, a factor of 1 to 100, a jitter of 0 to 1, and 1 to 100 delays",
        )
    return json.dumps(value.to_json())


_CHECKS: dict[str, Any] = {
    "queue": _queue,
    "priority": _whole("priority", -100, 100),
    "max_attempts": _whole("max_attempts", 1, 1000),
    "retry": _retry,
    "timeout": _duration("timeout", dt.timedelta(milliseconds=1), dt.timedelta(days=30)),
    "run_at": moment("run_at", "; nothing was enqueued"),
    "delay": _duration("delay", dt.timedelta(0), dt.timedelta(days=3650)),
    "idempotency_key": _key("idempotency key"),
    "unique_key": lambda value: value if callable(value) else unique_key(value),
    "ordering_key": lambda value: value if callable(value) else ordering_key(value),
    "on_duplicate": _on_duplicate,
    "debounce": _duration("debounce", dt.timedelta(milliseconds=1), dt.timedelta(days=30)),
}
