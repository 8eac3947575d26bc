"""What somebody meant to do, written down before it was done: so that afterwards nobody has to trust the database.

A file of JSON lines for each writer, appended without fsync: it must survive its writer's SIGKILL, not a power cut.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMITTED, ROLLED_BACK, UNKNOWN = "committed", "rolled back", "unknown"


@dataclass(slots=True)
class Intent:
    """A job that somebody meant to enqueue, and what became of that as far as he could see."""

    mark: str
    tenant: str
    kind: str
    fate: str = UNKNOWN  # until told: whoever dies with an open transaction tells nothing
    doubted: bool = False  # a COMMIT was sent and not answered: a later try that was rolled back proves nothing


@dataclass(slots=True)
class Book:
    """All ledgers together."""

    intents: dict[str, Intent] = field(default_factory=dict)
    canceled: set[str] = field(default_factory=set)  # ids of jobs that somebody asked to cancel
    retried: set[str] = field(default_factory=set)
    pauses: list[tuple[str, str, str]] = field(default_factory=list)  # tenant, from, until: the database's times
    surprises: list[str] = field(default_factory=list)

    def fates(self, fate: str) -> list[Intent]:
        return [intent for intent in self.intents.values() if intent.fate == fate]


class Ledger:
    """One writer's file. A line is one write(), so it is there whole or not at all."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = os.open(folder / f"{name}.jsonl", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)

    def mean(self, tenant: str, errands: Iterable[tuple[str, str]]) -> None:
        """Write down jobs that are about to be enqueued: their marks and kinds."""
        self._write("meant", tenant, list(errands))

    def tell(self, fate: str, marks: Iterable[str]) -> None:
        """Write down what became of them."""
        self._write("fate", fate, list(marks))

    def ask(self, what: str, job_id: str) -> None:
        """Write down that a job is about to be "canceled" or "retried"."""
        self._write(what, job_id)

    def paused(self, tenant: str, since: str, until: str) -> None:
        """Write down that no job of the tenant could be claimed meanwhile."""
        self._write("paused", tenant, since, until)

    def surprise(self, what: str) -> None:
        """Write down an error that no fault of ours explains."""
        self._write("surprise", what)

    def _write(self, *entry: Any) -> None:
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def read(folder: Path) -> Book:
    """Read what all writers have written."""
    book = Book()
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            _enter(book, *json.loads(line))
    return book


def _enter(book: Book, what: str, *values: Any) -> None:
    match what:
        case "meant":
            tenant, errands = values
            for mark, kind in errands:
                book.intents.setdefault(mark, Intent(mark, tenant, kind))
        case "fate":
            fate, marks = values
            for mark in marks:
                intent = book.intents[mark]
                intent.doubted |= fate == UNKNOWN
                intent.fate = UNKNOWN if intent.doubted and fate == ROLLED_BACK else fate
        case "canceled":
            book.canceled.add(values[0])
        case "retried":
            book.retried.add(values[0])
        case "paused":
            book.pauses.append((values[0], values[1], values[2]))
        case "surprise":
            book.surprises.append(values[0])
