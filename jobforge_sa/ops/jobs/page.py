"""All about one job, on one page."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from jobforge_sa.impact import REPLAYS
from jobforge_sa.models import Attempt
from jobforge_sa.ops import screen, times
from jobforge_sa.ops.jobs.listing import History, wait_and_run
from jobforge_sa.types import JobInfo, JobState

MAX_LINES = 40
MAX_WIDTH = 400  # of a line of JSON
FOLD = 76  # where JSON begins a new line for each item
MAX_DEPTH = 20  # below that all is on one line


def parts(job: JobInfo, attempts: Sequence[Attempt], now: dt.datetime) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    yield Text.assemble((str(job.id), "bold"), "  ", screen.coloured(job.state, screen.STATES))
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bright_black", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(job, attempts, now):
        if value:
            facts.add_row(name, Text(screen.one_line(value)))
    yield Padding(facts, (1, 0, 0, 2))
    yield _section("payload", pretty(job.payload))
    if job.result is not None:
        yield _section("result", pretty(job.result))
    if attempts or job.state == JobState.RUNNING:
        yield _section("attempts", _attempts(job, attempts, now))
    if any(isinstance(one.error, dict) and one.error.get("traceback") for one in attempts):
        yield Text(f"\n  with tracebacks: jobforge jobs show {job.id} --json", "bright_black", no_wrap=True)


def pretty(value: Any) -> RenderableType:
    """JSON for reading, cut where nobody reads on."""
    lines = screen.safe(_folded(value)).splitlines()
    shown = [line if len(line) <= MAX_WIDTH else f"{line[:MAX_WIDTH]}…" for line in lines[:MAX_LINES]]
    text = Syntax("\n".join(shown), "json", theme="ansi_dark", background_color="default", word_wrap=True)
    if len(lines) <= MAX_LINES:
        return text
    return Group(text, Text(f"… {len(lines) - MAX_LINES} lines more: --json shows them all", "dim"))


def _folded(value: Any, depth: int = 0) -> str:
    """JSON with as much on a line as fits."""
    short = json.dumps(value, ensure_ascii=False)
    if len(short) + 2 * depth <= FOLD or not isinstance(value, dict | list) or depth >= MAX_DEPTH:
        return short
    if isinstance(value, dict):
        items = [f"{json.dumps(key, ensure_ascii=False)}: {_folded(item, depth + 1)}" for key, item in value.items()]
    elif any(isinstance(item, dict | list) for item in value):
        items = [_folded(item, depth + 1) for item in value]
    else:
        items = _filled([json.dumps(item, ensure_ascii=False) for item in value], FOLD - 2 * depth)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    indent = "\n" + "  " * depth
    return f"{opening}{indent}  {f',{indent}  '.join(items)}{indent}{closing}"


def _filled(items: Sequence[str], width: int) -> list[str]:
    """Short things side by side: a list of numbers is no column of numbers."""
    lines = [""]
    for item in items:
        longer = f"{lines[-1]}, {item}" if lines[-1] else item
        if len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(item)
    return lines


def _facts(job: JobInfo, attempts: Sequence[Attempt], now: dt.datetime) -> Iterator[tuple[str, object]]:
    wait, run = wait_and_run(job, _history(attempts), now)
    yield "type", job.type
    yield "tenant", job.tenant_id
    yield "queue", f"{job.queue}, priority {job.priority}" if job.priority else job.queue
    crashes = f", {job.crashes} crashed" if job.crashes else ""
    yield "attempts", f"{job.attempt} of {job.max_attempts}{crashes}"
    yield "enqueued", _when(job.created_at, now)
    if job.run_at - job.created_at > dt.timedelta(seconds=1):
        yield "planned for", _when(job.run_at, now)
    yield "due", _when(job.due_at, now)
    yield "claimed", _when(job.claimed_at, now)
    yield "deadline", _when(job.deadline, now)
    yield "worker", job.worker_id
    yield "finished", _when(job.finished_at, now)
    yield "waited", "" if job.state == JobState.SCHEDULED else wait
    yield ("running for" if job.state == JobState.RUNNING else "ran"), run
    yield "timeout", times.span(job.timeout) if job.timeout is not None else ""
    yield "retry", json.dumps(job.retry) if job.retry else ""
    yield "key", job.idempotency_key
    yield "unique key", job.unique_key
    yield "ordering key", job.ordering_key
    yield "subject", job.subject
    yield "replay of" if job.cause in REPLAYS else "parent", job.parent_id
    yield "trace", json.dumps(job.trace, ensure_ascii=False) if job.trace else ""


def _attempts(job: JobInfo, attempts: Sequence[Attempt], now: dt.datetime) -> RenderableType:
    rows: list[tuple[str, str, str, str, str, Any]] = [
        (str(one.run), one.outcome, times.second(one.claimed_at), times.span(_ran(one)), str(one.worker_id), one.error)
        for one in attempts
    ]
    if job.state == JobState.RUNNING and job.claimed_at is not None:
        so_far = times.span(now - job.claimed_at)
        rows.append((str(job.run), job.state, times.second(job.claimed_at), so_far, str(job.worker_id), None))
    # by hand, so that an error has the whole line below its run and not a narrow column beside it
    runs, outcomes, rans = (max(len(row[index]) for row in rows) for index in (0, 1, 3))
    runs, outcomes, rans = max(runs, 3), max(outcomes, 7), max(rans, 3)
    heading = f"{'RUN':>{runs}}  {'OUTCOME':{outcomes}}  {'CLAIMED':23}  {'RAN':>{rans}}  WORKER"
    lines: list[RenderableType] = [Text(heading, "bold")]
    for run, outcome, claimed, ran, worker, error in rows:
        styles = screen.STATES | screen.OUTCOMES
        lines.append(
            Text(f"{run:>{runs}}  ").append(f"{outcome:{outcomes}}", styles.get(outcome, ""))
            .append(f"  {claimed}  {ran:>{rans}}  {worker[:8]}")
        )  # fmt: skip
        if error is not None:
            lines.append(Padding(_error(error), (0, 0, 0, runs + 2)))
    return Group(*lines)


def _ran(one: Attempt) -> dt.timedelta:
    return one.finished_at - one.claimed_at if one.run_ms is None else dt.timedelta(milliseconds=one.run_ms)


def _history(attempts: Sequence[Attempt]) -> History | None:
    if not attempts:
        return None
    return History(attempts[0].claimed_at, _ran(attempts[-1]), "")


def _error(error: Any) -> Text:
    if not isinstance(error, dict):
        return Text(screen.one_line(error))
    kind, message = (screen.one_line(error.get(key) or "", 500) for key in ("type", "message"))
    return Text.assemble((kind, "red"), ": " if kind and message else "", message)


def _when(time: dt.datetime | None, now: dt.datetime) -> str:
    return "" if time is None else f"{times.second(time)}, {times.ago(time, now)}"


def _section(title: str, body: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", "bold"), Padding(body, (0, 0, 0, 2)))
