"""Many jobs that are enqueued together, in as few statements as their tenants allow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

from sqlalchemy import Connection

from jobforge_sa.enqueue import fit, item, keys
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.enqueue.send import may_notify, send_many
from jobforge_sa.tasks import QUEUE, Task
from jobforge_sa.tenant import Named
from jobforge_sa.types import Enqueued

NO_KEY = ()
CHUNK = 5_000  # jobs in one statement: more gain nothing, and the document grows

Merge: TypeAlias = Callable[[Task[Any, Any], dict[str, Any], str], Enqueued]


@dataclass(slots=True)
class _Batch:
    """Jobs of one tenant, column by column: a tuple for each would be one more thing for Python to look through."""

    keys: list[tuple[str, ...]] = field(default_factory=list)  # what is met in order: type and key, or nothing
    positions: list[int] = field(default_factory=list)  # in the caller's order
    texts: list[str] = field(default_factory=list)  # what each says beside its payload
    payloads: list[str] = field(default_factory=list)

    def add(self, key: tuple[str, ...], position: int, text: str, payload: str) -> None:
        self.keys.append(key)
        self.positions.append(position)
        self.texts.append(text)
        self.payloads.append(payload)

    def sort(self) -> None:
        order = sorted(range(len(self.keys)), key=self.keys.__getitem__)
        self.positions = [self.positions[place] for place in order]
        self.texts = [self.texts[place] for place in order]
        self.payloads = [self.payloads[place] for place in order]


class Bulk:
    """Jobs as they come, each with its options and its payload's text; then all of them are sent."""

    def __init__(
        self, connection: Connection, origin: Mapping[str, Any], tenant_for: Callable[[Any], Named | None], merge: Merge
    ) -> None:
        self.queues = set[str]()
        self._connection = connection
        self._tenant_for = tenant_for
        self._merge = merge
        self._notify = may_notify(connection)
        self._origin = {name: value for name, value in origin.items() if value is not None}
        if "trace" in self._origin:
            self._origin["trace"] = json.loads(self._origin["trace"])
        self._count = 0
        self._batches: dict[tuple[Named | None, bool], _Batch] = {}
        self._texts: dict[Task[Any, Any], tuple[_Batch, str]] = {}  # tasks whose jobs differ in the payload alone
        self._merging: list[tuple[str, str, int, Callable[[], Enqueued]]] = []
        self._is_ordered = False

    def add(self, task: Task[Any, Any], values: dict[str, Any], payload: str) -> None:
        """Take one job."""
        position = self._count
        self._count += 1
        if values is task.resolved and task in self._texts:
            batch, text = self._texts[task]
            batch.add(NO_KEY, position, text, payload)
            return
        if task.forge.strict_rls:
            fit.look(self._connection, strict=True)
        named = keys.named(task, values, payload)
        if named.get("on_duplicate") == "merge":
            self._merging.append((task.name, named["unique_key"], position, partial(self._merge, task, named, payload)))
            return
        self.queues.add(named.get("queue", QUEUE))
        self._is_ordered |= "ordering_key" in named
        key = named.get("idempotency_key") or named.get("unique_key")
        batch = self._batches.setdefault((self._tenant_for(task), task.forge.notify and self._notify), _Batch())
        text = item.text_of(task, named | self._origin)
        batch.add((task.name, key) if key else NO_KEY, position, text, payload)
        if named is task.resolved and not key:
            self._texts[task] = batch, text

    def send(self) -> Sequence[Enqueued]:
        """Enqueue them; the answers come in their order."""
        answers: dict[int, Enqueued] = {}
        for (tenant, notify), batch in self._batches.items():
            # over several statements keys must be met in one order, or two calls deadlock. But jobs stand in line in
            # the order of the statements, and no error would tell that it is another than the caller's
            if len(batch.texts) > CHUNK and not self._is_ordered:
                batch.sort()
            for start in range(0, len(batch.texts), CHUNK):
                chunk = slice(start, start + CHUNK)
                with translated(self._connection):
                    sent = send_many(
                        self._connection, tenant, batch.texts[chunk], batch.payloads[chunk],
                        keyed=any(batch.keys[chunk]), notify=notify,
                    )  # fmt: skip
                answers.update(zip(batch.positions[chunk], sent, strict=True))
        for _, _, position, one in sorted(self._merging, key=lambda one: one[:3]):  # in one order: see above
            answers[position] = one()
        return [answers[position] for position in range(self._count)]
