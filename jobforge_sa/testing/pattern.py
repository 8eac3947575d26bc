"""What a payload should be like, and where it is not."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from types import EllipsisType
from typing import Any

import pydantic
import pydantic_core

MISSING: Any = object()


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One place where a value is not what the pattern asks for."""

    path: str  # "lines[0].sku"; "" where it is the whole
    wanted: str
    found: Any  # MISSING where there is nothing
    plain: bool = False  # it is text that a message shows as it is

    def __str__(self) -> str:
        found = "missing" if self.found is MISSING else str(self.found) if self.plain else repr(self.found)
        return f"{self.path or 'payload'} is {found}, wanted {self.wanted}"


def differences(pattern: Any, value: Any, path: str = "") -> list[Difference]:
    """Where a value, decoded from JSON, differs from a pattern; nowhere, if it matches.

    Args:
        pattern: `...`: anything. A mapping: these keys, and any others. A pydantic model or a dataclass: itself, and
            nothing else. A list: so many items. A type: an instance. A compiled regular expression: text in which it is
            found. A function: one that gives true. Anything else: what it is as JSON.
        value: What is there.
        path: Where that is.
    """
    match pattern:
        case pydantic.BaseModel():
            exact = pattern.model_dump(mode="json", by_alias=True, round_trip=True)
            return [*_differ(exact, value, path), *_extra(exact, value, path)]
        case _ if dataclasses.is_dataclass(pattern) and not isinstance(pattern, type):
            exact = pydantic_core.to_jsonable_python(pattern)
            return [*_differ(exact, value, path), *_extra(exact, value, path)]
    return [*_differ(pattern, value, path)]


def words(pattern: Any) -> str:
    """A pattern as a message says it."""
    match pattern:
        case EllipsisType():
            return "anything"
        case type():
            return f"any {pattern.__name__}"
        case re.Pattern():
            return f"text like /{pattern.pattern}/"
        case Mapping():
            return "{" + ", ".join(f"{key!r}: {words(one)}" for key, one in pattern.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(words, pattern)) + "]"
        case _ if _is_function(pattern):
            return f"what {getattr(pattern, '__qualname__', pattern)} takes"
    return repr(pydantic_core.to_jsonable_python(pattern))


def _differ(pattern: Any, value: Any, path: str) -> Iterator[Difference]:
    match pattern:
        case EllipsisType():
            return
        case type():
            same = isinstance(value, pattern) and (pattern is not int or not isinstance(value, bool))
        case re.Pattern():
            same = isinstance(value, str) and pattern.search(value) is not None
        case Mapping() if isinstance(value, Mapping):
            for key, one in pattern.items():
                yield from _at(one, value.get(str(key), MISSING), f"{path}.{key}".lstrip("."))
            return
        case list() | tuple() if isinstance(value, list) and len(value) == len(pattern):
            for place, one in enumerate(pattern):
                yield from _at(one, value[place], f"{path}[{place}]")
            return
        case Mapping() | list() | tuple():
            same = False
        case _ if _is_function(pattern):
            yield from _asked(pattern, value, path)
            return
        case _:
            same = _is_same(pydantic_core.to_jsonable_python(pattern), value)
    if not same:
        yield Difference(path, words(pattern), value)


def _at(pattern: Any, value: Any, path: str) -> list[Difference]:
    return [Difference(path, words(pattern), MISSING)] if value is MISSING else differences(pattern, value, path)


def _asked(function: Callable[[Any], object], value: Any, path: str) -> Iterator[Difference]:
    try:
        if not function(value):
            yield Difference(path, words(function), value)
    except Exception as error:  # it was made for values of another kind: this one is none that it takes
        yield Difference(path, f"{words(function)} (it raised {error!r})", value)


def _extra(exact: Mapping[str, Any], value: Any, path: str) -> Iterator[Difference]:
    if isinstance(value, Mapping):
        for key in value.keys() - exact.keys():
            yield Difference(f"{path}.{key}".lstrip("."), "nothing", value[key])


def _is_function(pattern: Any) -> bool:
    return callable(pattern) and not isinstance(pattern, type)


def _is_same(wanted: Any, value: Any) -> bool:
    return bool(wanted == value) and isinstance(wanted, bool) == isinstance(value, bool)
