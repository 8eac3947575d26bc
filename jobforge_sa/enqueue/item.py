"""A job on its way into the database, as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobforge_sa.enqueue import subject
from jobforge_sa.enqueue.options import as_item
from jobforge_sa.tasks import Task


def text_of(task: Task[Any, Any], values: dict[str, Any]) -> str:
    """The job as an object of `enqueue_jobs`, but for its payload."""
    said = as_item(values | {"subject": subject_of(values)}) if values else {}
    return json.dumps({"type": task.name, **said}, default=str, ensure_ascii=False, separators=(",", ":"))


def with_payload(text: str, payload: str) -> str:
    """The same with its payload, which is JSON text already."""
    return f'{text[:-1]},"payload":{payload}}}'


def subject_of(values: Mapping[str, Any]) -> str | None:
    """The name of the row that the job is about, if it is about one."""
    return subject.name_of(values["subject"]) if "subject" in values else None


def dumped(task: Task[Any, Any], payload: object) -> str:
    """The payload as JSON text; a function is called for it."""
    return task.dump(payload() if callable(payload) else payload)
