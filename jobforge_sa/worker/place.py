"""Where a function stands, so that another process finds it there: `module:name`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import reduce
from typing import Any

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tasks import JobForge, Task


def of(function: Callable[..., Any], what: str) -> str:
    """The place of a function.

    Args:
        function: A handler, or a factory.
        what: How to call it where it is refused, such as "the handler of the task report".

    Raises:
        ConfigurationError: no other process finds it.
    """
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module == "__main__":
        raise ConfigurationError(
            f"{what} is defined in the program itself (__main__), which a child process does not import",
            cure="move it into a module, and import it from there",
        )
    place = f"{module}:{name}"
    try:
        found = find(place)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not function and not (isinstance(found, Task) and found.handler is function):
        raise ConfigurationError(
            f"{what} is not what a child process finds at {place}",
            cure="define it at the top level of a module, under its own name (decorators need functools.wraps)",
        )
    return place


def find(place: str) -> Any:
    """What stands there; its module is imported."""
    module, _, name = place.partition(":")
    return reduce(getattr, name.split("."), importlib.import_module(module))


def task(name: str, place: str) -> Task[Any, Any]:
    """The task of this name whose handler stands there."""
    found = find(place)
    if isinstance(found, Task):
        if found.name == name:
            return found
        found = found.handler
    return JobForge().task(name)(found)
