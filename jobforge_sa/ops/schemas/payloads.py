"""The payloads of tasks as JSON Schema: what a client in another language may enqueue for them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from jobforge_sa.ops.schemas.document import DIALECT
from jobforge_sa.ops.schemas.json_types import Schema
from jobforge_sa.tasks import JobForge, Task

UNKNOWN = "It has types of the application's own, which no JSON Schema describes."


def of_tasks(*registries: JobForge) -> Iterator[Schema]:
    """A schema for each task, by name; of one that several registries have, once."""
    found = {task.name: task for registry in registries for task in registry}
    return (payload(found[name]) for name in sorted(found))


def payload(task: Task[Any, Any]) -> Schema:
    """What a task takes. The last part of `$id` changes with the schema, `x-queue` is where its worker looks."""
    said = task.payload_schema()
    schema = {"type": "object", "$comment": UNKNOWN} if said is None else said
    text = json.dumps(schema, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return {
        "$schema": DIALECT,
        "$id": f"urn:jobforge:payload:{task.name}:{digest}",
        "x-type": task.name,
        "x-queue": task.queue,
        **schema,
    }


def built_in() -> JobForge:
    """The registry of the built-in handlers."""
    from jobforge_sa.handlers import Connectors  # here, as in report_command: it takes 70 ms

    return Connectors().forge
