"""Keys that the payload may say: which ones a job has; and one payload of two where jobs with one are to be merged."""

from __future__ import annotations

from typing import Any

import pydantic

from jobforge_sa.enqueue.options import ordering_key, unique_key
from jobforge_sa.errors import InvalidJob, InvalidPayload
from jobforge_sa.tasks import Task, faults


def named(task: Task[Any, Any], values: dict[str, Any], payload: str) -> dict[str, Any]:
    """The options of a job whose payload is known: its keys are text, and what becomes of duplicates is said.

    Raises:
        InvalidJob: a key cannot be one, or the task has no merge.
    """
    if callable(order := values.get("ordering_key")):
        given = order(task.load(payload))
        values = {name: value for name, value in values.items() if name != "ordering_key"}
        if given is not None:  # else this one has no order
            values["ordering_key"] = ordering_key(given)
    key = values.get("unique_key")
    if key is None:
        return values
    chosen = values.get("on_duplicate") or ("merge" if task.merge else "keep")
    if chosen == "merge" and task.merge is None:
        raise InvalidJob(
            f"the task {task.name} cannot merge payloads",
            cure="say how: @forge.task(merge=lambda waiting, new: ...); nothing was enqueued",
        )
    name = unique_key(key(task.load(payload)) if callable(key) else key)
    return values | {"unique_key": name, "on_duplicate": chosen}


def merged(task: Task[Any, Any], waiting: str, new: str) -> str:
    """The payload of both, as JSON text.

    Raises:
        InvalidPayload: the waiting one is no longer what the task takes, or the merged one is not.
    """
    assert task.merge is not None
    try:
        before = task.load(waiting)
    except pydantic.ValidationError as error:
        raise InvalidPayload(
            f"the waiting job's payload is not what {task.name} takes any more: {faults(error)}",
            cure="cancel that job, or enqueue with on_duplicate='replace'; nothing was enqueued",
        ) from error
    return task.dump(task.merge(before, task.load(new)))
