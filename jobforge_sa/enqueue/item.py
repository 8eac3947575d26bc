"""A job on its way into the database, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from jobforge_sa.enqueue import subject
from jobforge_sa.enqueue.options import as_item
from jobforge_sa.tasks import Task


class Item(NamedTuple):
    """One of those that go into `enqueue_jobs` together."""

    key: tuple[str, str]  # what is met in order: type and idempotency key, or nothing
    position: int  # in the caller's order
    text: str


def text_of(task: Task[Any, Any], values: dict[str, Any], payload: str) -> str:
    """The job as an object of `enqueue_jobs`; its payload is JSON text already and goes in as it is."""
    head = json.dumps(as_item(values) | {"type": task.name}, default=str, ensure_ascii=False, separators=(",", ":"))
    return f'{head[:-1]},"payload":{payload}}}'


def subject_of(values: Mapping[str, Any]) -> str | None:
    """The name of the row that the job is about, if it is about one."""
    return subject.name_of(values["subject"]) if "subject" in values else None


def dumped(task: Task[Any, Any], payload: object) -> str:
    """The payload as JSON text; a function is called for it."""
    return task.dump(payload() if callable(payload) else payload)
