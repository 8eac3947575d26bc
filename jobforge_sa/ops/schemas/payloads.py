"""The payloads of tasks as JSON Schema: what a client in another language may enqueue for them."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

from jobforge_sa.ops import screen
from jobforge_sa.ops.schemas.document import DIALECT
from jobforge_sa.ops.schemas.json_types import Schema
from jobforge_sa.tasks import JobForge, Task

BUILT_IN = "jobforge_sa.handlers"
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


def built_in() -> Iterable[JobForge]:
    """The registry of the built-in connectors, where what they need is installed."""
    try:
        module = importlib.import_module(BUILT_IN)
        return (module.Connectors().forge,)
    except ImportError as error:
        if error.name != BUILT_IN:  # there are some, and their libraries are missing
            screen.note(f"without the built-in connectors: {error}")
        return ()
