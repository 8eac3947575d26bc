"""What a worker is given, checked: the error comes with the line that is wrong."""

from __future__ import annotations

import datetime as dt
import math
import os
import socket
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tasks import JobForge
from jobforge_sa.worker.link import own_engine
from jobforge_sa.worker.voice import log

if TYPE_CHECKING:
    from jobforge_sa.settings import Settings


def process_name() -> str:
    """How this process is called in the table of workers."""
    return f"{socket.gethostname()}:{os.getpid()}"


def queues_of(forge: JobForge, queues: Mapping[str, int] | Iterable[str] | None, concurrency: int) -> dict[str, int]:
    """The queues, with the slots of each.

    Raises:
        ConfigurationError: that cannot work.
    """
    if not isinstance(forge, JobForge):
        raise ConfigurationError(f"a worker takes a JobForge, not {type(forge).__name__}", cure="pass your registry")
    if not len(forge.tasks):
        raise ConfigurationError(
            "the registry has no tasks",
            cure="import the modules that define them first, and make the Worker behind them",
        )
    if isinstance(queues, str):
        raise ConfigurationError(f"queues is the string {queues!r}", cure=f"pass a list: [{queues!r}]")
    if queues is None:
        queues = sorted({task.queue for task in forge})
    chosen = dict(queues) if isinstance(queues, Mapping) else dict.fromkeys(queues, concurrency)
    if not chosen or not all(isinstance(n, int) and n >= 1 for n in chosen.values()):
        raise ConfigurationError("each queue needs at least one slot", cure="pass queues={'default': 10}")
    known = {task.queue for task in forge}
    for queue in chosen.keys() - known:
        log.warning("no task has the queue %r: only jobs that were enqueued there by name will come", queue)
    return chosen


def warn_of_latecomers(forge: JobForge, queues: Mapping[str, int]) -> None:
    """Warn of tasks that were registered when the worker knew its queues already, in queues of their own."""
    late = {task.name: task.queue for task in forge if task.queue not in queues}
    if late:
        log.warning(
            "the worker was made before the tasks %s: it does not serve %s; make it behind them",
            ", ".join(sorted(late)), ", ".join(sorted({*late.values()})),
        )  # fmt: skip


def at_least(value: object, seconds: float, name: str) -> dt.timedelta:
    """A time that is long enough.

    Raises:
        ConfigurationError: it is not.
    """
    if not isinstance(value, dt.timedelta) or value.total_seconds() < seconds:
        raise ConfigurationError(f"{name} is {value!r}", cure=f"pass a timedelta of at least {seconds} s")
    return value


def seconds(value: dt.timedelta | None, name: str) -> float:
    """A limit in seconds; None is none.

    Raises:
        ConfigurationError: it is not more than nothing.
    """
    return math.inf if value is None else at_least(value, 0.1, name).total_seconds()


def from_settings(forge: JobForge, settings: Settings) -> tuple[str, dict[str, Any]]:
    """The database's URL and the other arguments of a worker, as the settings say.

    Raises:
        ConfigurationError: no database is given.
    """
    settings.warn_of_unknown()
    if settings.database_url is None:
        raise ConfigurationError("no database is given", cure="set JOBFORGE_DATABASE_URL or DATABASE_URL")
    arguments = settings.worker_arguments()
    if settings.session_url is not None:
        queues = arguments["queues"] or {task.queue for task in forge}
        slots = sum(queues.values()) if isinstance(queues, dict) else settings.concurrency * len(queues)
        arguments["session_engine"] = own_engine(settings.session_url.get_secret_value(), max(slots, 1))
    return settings.database_url.get_secret_value(), arguments
