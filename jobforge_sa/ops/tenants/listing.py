"""Tenants as a table: who waits, who is paused, whose quota is used up; and what is kept of one."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence

from rich.console import JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from jobforge_sa.ops import screen, times
from jobforge_sa.ops.limits import page as limit_page
from jobforge_sa.tenants import TenantCount, TenantInfo

NEARLY = 0.8  # of a quota: the next import may fail

KEPT = {
    "jobs": "jobs",
    "ready": "  queued",
    "scheduled": "  scheduled",
    "leases": "  running",
    "outcomes": "  ended",
    "results": "results",
    "artifacts": "artifacts",
    "attempts": "attempts",
    "cancel_requests": "cancel requests",
    "idempotency_keys": "idempotency keys",
    "unique_keys": "unique keys",
    "lines": "in line",
    "waits": "awaited ends",
    "webhook_deliveries": "webhook deliveries",
    "webhook_endpoints": "failing endpoints",
    "connectors": "connectors",
    "connector_secrets": "secrets",
    "turns": "turns in line",
    "limits": "pause and limits",
}


def parts(tenants: Sequence[TenantInfo], now: dt.datetime, width: int, *, whole: bool) -> Iterator[RenderableType]:
    """What to print, from top to bottom; in a pipe, which is not `whole`, the table alone."""
    yield table(tenants, now, width)
    if whole:
        yield Text.assemble("\n", _summary(tenants))


def table(tenants: Sequence[TenantInfo], now: dt.datetime, width: int) -> Table:
    """One row each. A column that says nothing of anybody is left out."""
    said: list[tuple[str, Callable[[TenantInfo], Text | None]]] = [
        ("RATE", lambda one: limit_page.rate(one.rate, None)),
        ("WEIGHT", lambda one: None if one.weight is None else Text(str(one.weight))),
        ("QUOTA", _quota),
        ("PAUSED", lambda one: Text(times.ago(one.paused_at, now), "magenta") if one.paused_at else None),
    ]
    shown = [(name, cell) for name, cell in said if any(cell(one) for one in tenants)]
    rows = [
        [
            Text(screen.named(one.tenant_id)),
            *_numbers(one),
            *(cell(one) or limit_page.nothing(name) for name, cell in shown),
        ]
        for one in tenants
    ]
    names = ("QUEUED", "SCHEDULED", "RUNNING", *(name for name, _ in shown))
    headings: list[tuple[str, JustifyMethod]] = [("TENANT", "left"), *map(limit_page.heading, names)]
    return screen.listing(width, headings, rows, ("TENANT", "WEIGHT", "SCHEDULED", "RATE", "QUOTA"))


def counted(count: TenantCount) -> Table:
    """What is kept of a tenant, in the words of the other commands."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(justify="right", no_wrap=True)
    for relation in [*KEPT, *sorted(count.rows.keys() - KEPT)]:
        rows = count.rows.get(relation, 0)
        style = "" if rows else "bright_black"
        made.add_row(Text(KEPT.get(relation, relation), style), Text(f"{rows:,}", style))
    return made


def _numbers(one: TenantInfo) -> Iterator[Text]:
    for number, state in ((one.queued, "queued"), (one.scheduled, "scheduled")):
        yield Text(f"{number:,}" if number else "-", screen.STATES[state] if number else "bright_black")
    yield limit_page.running(one.running, one.max_running)


def _quota(one: TenantInfo) -> Text | None:
    """The quota, and how much of it is used."""
    if one.max_waiting is None:
        return None
    used = one.waiting / one.max_waiting if one.max_waiting else 1.0
    style = "bold red" if used >= 1 else "yellow" if used >= NEARLY else ""
    return Text.assemble((f"{min(int(used * 100), 999)}%", style), (" of ", "bright_black"), f"{one.max_waiting:,}")


def _summary(tenants: Sequence[TenantInfo]) -> Text:
    paused = sum(one.paused_at is not None for one in tenants)
    full = sum(one.max_waiting is not None and one.waiting >= one.max_waiting for one in tenants)
    said = [Text(f"{len(tenants):,} tenant{'s' if len(tenants) > 1 else ''}", "bright_black")]
    said += [Text(f"{paused:,} paused", "magenta")] if paused else []
    said += [Text(f"{full:,} at the quota", "bold red")] if full else []
    return Text(", ").join(said)
