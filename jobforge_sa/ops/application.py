"""The application whose jobs a worker process runs: found, imported, introduced."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from types import ModuleType
from typing import NoReturn

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tasks import JobForge

SHOWN = 8  # tasks in the line that introduces them


def load(place: str) -> JobForge:
    """Import the registry at `module:name`; the current folder counts as well.

    Raises:
        ConfigurationError: there is none, or it is empty.
    """
    name, colon, attribute = place.partition(":")
    if not (name and colon and attribute):
        raise ConfigurationError(f"{place!r} names no registry", cure="write MODULE:FORGE, such as shop.jobs:forge")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _imported(name)
    try:
        found = reduce(getattr, attribute.split("."), module)
    except AttributeError as error:
        raise ConfigurationError(f"the module {name} has no {attribute!r}", cure=_candidates(module)) from error
    if not isinstance(found, JobForge):
        raise ConfigurationError(f"{place} is a {type(found).__name__}, not a JobForge", cure=_candidates(module))
    if not found.tasks:
        raise ConfigurationError(f"{place} has no tasks", cure=f"import the modules that define them in {name}")
    return found


def queues(forge: JobForge, given: Sequence[str], concurrency: int) -> dict[str, int]:
    """The slots of each queue, from `name` and `name=slots`; without any, the queues of the tasks.

    Raises:
        ConfigurationError: one cannot be read.
    """
    from jobforge_sa.settings import slots_of

    try:
        found = slots_of(given or sorted({task.queue for task in forge}))
    except ValueError as error:
        raise ConfigurationError(f"--queue {error}", cure="write --queue mail, or --queue mail=5; each once") from error
    return {name: slots or concurrency for name, slots in found.items()}


def introduce(forge: JobForge, slots: Mapping[str, int], place: str) -> str:
    """One line that says what this worker will do."""
    return (
        f"tasks: {_listed(sorted(forge.tasks))}; "
        f"queues: {_listed(f'{name} x{count}' for name, count in slots.items())}; database: {place}"
    )


def sum_up(outcomes: Mapping[str, int]) -> str:
    """One line that says how the runs ended."""
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "there was nothing to do"


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (error.name == name or name.startswith(f"{error.name}.")):
            raise ConfigurationError(
                f"there is no module {error.name!r}",
                cure="start jobforge in the folder that holds it, or install the application",
            ) from error
        _broken(name, error)
    except (Exception, SystemExit) as error:
        _broken(name, error)


def _broken(name: str, error: BaseException) -> NoReturn:
    said = " ".join(str(error).split())
    raise ConfigurationError(
        f"importing {name} fails: {type(error).__name__}: {said}", cure=f'for the traceback: python -c "import {name}"'
    ) from error


def _candidates(module: ModuleType) -> str:
    found = [name for name, value in vars(module).items() if isinstance(value, JobForge)]
    if not found:
        return f"define it: forge = JobForge(), and pass {module.__name__}:forge"
    return "there is " + ", ".join(f"{module.__name__}:{name}" for name in found)


def _listed(names: Iterable[str]) -> str:
    chosen = list(names)
    more = f" and {len(chosen) - SHOWN} more" if len(chosen) > SHOWN else ""
    return ", ".join(chosen[:SHOWN]) + more
