"""What caused a job and what it caused: the jobs around it, as a tree, as JSON, as Mermaid; and two of them compared.

Everything here goes from job to job in loops: a chain of thousands of jobs must not meet Python's limit of recursion.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import re
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

FORMAT = "jobforge-impact/1"
REPLAYS = ("replay", "copy")  # the causes of what somebody ran again: not what the job itself has caused

_COLOURS = {  # of Mermaid's boxes: fill, line
    "scheduled": ("#e0f7fa", "#00838f"),
    "queued": ("#fff8e1", "#f9a825"),
    "running": ("#e3f2fd", "#1565c0"),
    "succeeded": ("#e8f5e9", "#2e7d32"),
    "dead": ("#ffebee", "#c62828"),
    "canceled": ("#eeeeee", "#757575"),
    "gone": ("#ffffff", "#bdbdbd"),
}


@dataclass(frozen=True, slots=True)
class ImpactJob:
    """A job around another one. One that is pruned, or another tenant's, is known by its id alone: see `gone`."""

    job_id: uuid.UUID
    depth: int  # 0: the job that was asked about; above it -1, -2 ..., below it 1, 2 ...
    parent_id: uuid.UUID | None
    cause: str | None  # how the parent caused it: handler, replay, copy
    tenant_id: str | None
    queue: str | None
    type: str | None
    subject: str | None  # the application's row that it is about
    trace: Mapping[str, str] | None
    state: str | None
    run: int | None
    attempt: int | None
    max_attempts: int | None
    crashes: int | None
    created_at: dt.datetime | None
    finished_at: dt.datetime | None
    outcome: str | None  # of its last ended run
    error_type: str | None

    @property
    def gone(self) -> bool:
        """It is pruned, or not the caller's to see."""
        return self.type is None

    @property
    def trace_id(self) -> str | None:
        """The trace's id, where it is a W3C trace context."""
        given = self.trace.get("traceparent", "") if isinstance(self.trace, Mapping) else ""
        found = re.fullmatch(r"[0-9a-f]{2}-([0-9a-f]{32})-.*", str(given))
        return found[1] if found else None


@dataclass(frozen=True)
class Impact:
    """What caused a job, up to the first of the line, and all that it caused.

    Attributes:
        job_id: The job.
        jobs: From the first of the line down; the jobs of one depth in the order in which they were enqueued.
        cut: There are more than these.
    """

    job_id: uuid.UUID
    jobs: Sequence[ImpactJob]
    cut: bool = False

    @property
    def job(self) -> ImpactJob:
        """The job itself."""
        return next(one for one in self.jobs if one.depth == 0)

    @property
    def root(self) -> ImpactJob:
        """The first of the line, as far as it is known."""
        return self.jobs[0]

    def children(self, job: ImpactJob) -> Sequence[ImpactJob]:
        """What this one caused: of those above the job itself, the next one of the line alone."""
        return self._children.get((job.depth, job.job_id), [])

    @cached_property
    def _children(self) -> Mapping[tuple[int, uuid.UUID], list[ImpactJob]]:
        found: defaultdict[tuple[int, uuid.UUID], list[ImpactJob]] = defaultdict(list)
        for one in self.jobs:
            if one.parent_id is not None:
                found[one.depth - 1, one.parent_id].append(one)
        return found

    def record(self) -> dict[str, Any]:
        """All of it as plain values, for JSON; `of_record` reads it."""
        jobs = [dataclasses.asdict(one) for one in self.jobs]
        return {"format": FORMAT, "job_id": self.job_id, "cut": self.cut, "jobs": jobs}

    def mermaid(self) -> str:
        """A flowchart in the language of Mermaid, which many pages draw."""
        names = {(one.depth, one.job_id): f"j{number}" for number, one in enumerate(self.jobs)}
        boxes = ((names[one.depth, one.job_id], _label(one), one.state or "gone") for one in self.jobs)
        lines = ["flowchart TD", *(f'    {name}["{label}"]:::{state}' for name, label, state in boxes)]
        for one in self.jobs:
            above = names.get((one.depth - 1, one.parent_id)) if one.parent_id is not None else None
            if above is not None:
                how = f"|{_escaped(one.cause)}|" if one.cause not in (None, "handler") else ""
                lines.append(f"    {above} -->{how} {names[one.depth, one.job_id]}")
        for state, (fill, stroke) in _COLOURS.items():
            lines.append(f"    classDef {state} fill:{fill},stroke:{stroke},color:#212121")
        return "\n".join([*lines, *(["    %% cut: there are more jobs"] if self.cut else [])]) + "\n"


def of_record(record: Mapping[str, Any]) -> Impact:
    """What `Impact.record` gave, read again.

    Raises:
        ValueError: it is not that.
    """
    if record.get("format") != FORMAT:
        raise ValueError(f"its format is {str(record.get('format'))[:50]!r}, not {FORMAT}")
    try:
        jobs = [_job(dict(one)) for one in record["jobs"]]
        impact = Impact(uuid.UUID(record["job_id"]), jobs, bool(record["cut"]))
        _ = impact.job
    except (KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError(f"it lacks something: {error}") from error
    return impact


_TEXTS = ("cause", "tenant_id", "queue", "type", "subject", "state", "outcome", "error_type")


def _job(values: dict[str, Any]) -> ImpactJob:
    if not isinstance(values["depth"], int) or not all(isinstance(values[name], str | None) for name in _TEXTS):
        raise TypeError("a depth is a number, what else there is of a job is text")
    parent = values["parent_id"]
    values |= {"job_id": uuid.UUID(values["job_id"]), "parent_id": None if parent is None else uuid.UUID(parent)}
    for name in ("created_at", "finished_at"):
        values[name] = None if values[name] is None else dt.datetime.fromisoformat(values[name])
    return ImpactJob(**values)


# -- two of them -----------------------------------------------------------------------


def differences(left: Impact, right: Impact) -> Iterator[tuple[str, str]]:
    """Where what two jobs caused differs: the place, as a path of types, and how.

    Compared are type, state, what rows they are about, how the last run ended and the type of its error. Not compared
    are ids, times, numbers of rows, and what somebody has replayed. Children are matched by their type, in their order.
    """
    waiting = [(left.job, right.job, left.job.type or "gone")]
    while waiting:
        one, other, place = waiting.pop()
        for name, before, after in _facts(one, other):
            if before != after:
                yield place, f"{name} {before or 'none'} -> {after or 'none'}"
        ours, theirs = _by_type(left, one), _by_type(right, other)
        for kind in sorted(ours.keys() | theirs.keys()):
            mine, yours = ours.get(kind, []), theirs.get(kind, [])
            if len(mine) != len(yours):
                yield f"{place} > {kind}", f"{_times(len(mine))} -> {_times(len(yours))}"
            several = max(len(mine), len(yours)) > 1
            for number, (a, b) in enumerate(zip(mine, yours, strict=False), 1):
                waiting.append((a, b, f"{place} > {kind}{f'[{number}]' if several else ''}"))


def _facts(one: ImpactJob, other: ImpactJob) -> Iterator[tuple[str, str | None, str | None]]:
    yield "type", one.type, other.type
    yield "state", one.state, other.state
    yield "outcome", one.outcome, other.outcome
    yield "error", one.error_type, other.error_type
    yield "subject", _kind(one.subject), _kind(other.subject)


def _kind(subject: str | None) -> str | None:
    """The table of a subject such as `orders:42`: which row it was is an id like others."""
    return None if subject is None else subject.partition(":")[0]


def _by_type(impact: Impact, job: ImpactJob) -> dict[str, list[ImpactJob]]:
    found: defaultdict[str, list[ImpactJob]] = defaultdict(list)
    for child in impact.children(job):
        if child.cause not in REPLAYS:
            found[str(child.type)].append(child)
    return found


def _times(count: int) -> str:
    return "none" if count == 0 else f"{count:,}"


def _label(job: ImpactJob) -> str:
    if job.gone:
        return f"gone<br/>{job.job_id!s}"
    runs = f", run {job.run}" if (job.run or 0) > 1 else ""
    failed = f"<br/>{_escaped(job.error_type)}" if job.error_type and job.state != "succeeded" else ""
    subject = f"<br/>{_escaped(job.subject)}" if job.subject else ""
    return f"{_escaped(job.type)}<br/>{job.state}{runs}{subject}{failed}"


def _escaped(text: str | None) -> str:
    """Text that stays text within the quotes of a label, where Mermaid knows entities by their numbers."""
    return re.sub(r"[^\w .:/@-]", lambda found: f"#{ord(found[0])};", " ".join(str(text).split())[:80])
