"""What happened, for people: a table of the tenants, and the promises with ticks or crosses."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from sqlalchemy import ColumnElement, Engine, extract, func, select
from sqlalchemy.orm import Session

from examples.orders.database import operator
from examples.orders.promise import Promise
from examples.orders.screen import line, title
from examples.orders.shops import Shop
from jobforge_sa import JobState
from jobforge_sa.models import Attempt, Job

STATES = [JobState.QUEUED, JobState.SCHEDULED, JobState.RUNNING, JobState.SUCCEEDED, JobState.DEAD]


def tenants(engine: Engine) -> Table:
    """A column for each tenant."""
    with operator(engine) as session:
        columns = {shop.tenant: _numbers(session, shop.tenant) for shop in Shop}
    table = Table(box=None, padding=(0, 0, 0, 2), header_style="bold")
    table.add_column("tenant")
    for tenant in columns:
        table.add_column(tenant, justify="right", min_width=13)
    for name in next(iter(columns.values())):
        table.add_row(name, *(numbers[name] for numbers in columns.values()))
    return table


def verdict(promises: Sequence[Promise]) -> bool:
    """Print the promises, and say whether all were kept."""
    for promise in promises:
        if promise.kept:
            line(promise.text, mark="[green]✔[/] ")
        else:
            line(promise.text, style="red", mark="[bold red]✘[/] ")
            line(_short(promise.expected, promise.found), mark="  expected ")
            line(_short(promise.found, promise.expected), mark="  found    ")
    kept = sum(promise.kept for promise in promises)
    title(f"{kept} of {len(promises)} promises kept")
    return kept == len(promises)


def _numbers(session: Session, tenant: str) -> dict[str, str]:
    standing = select(Job.state, func.count()).where(Job.tenant_id == tenant).group_by(Job.state)
    states = dict(session.execute(standing).all())
    wait = extract("epoch", Attempt.claimed_at - Job.run_at) * 1000
    first = Attempt.tenant_id == tenant, Attempt.run == 1
    attempts = session.scalar(select(func.count()).select_from(Attempt).where(Attempt.tenant_id == tenant))
    waits = session.execute(select(*_middle_and_slow(wait)).join(Attempt.job).where(*first)).one()
    runs = session.execute(select(*_middle_and_slow(Attempt.run_ms)).where(Attempt.tenant_id == tenant)).one()
    return {
        **{state: f"{states.get(state, 0):,}" for state in STATES},
        "attempts": f"{attempts:,}",
        "wait, median": _duration(waits[0]),
        "wait, p95": _duration(waits[1]),
        "run, median": _duration(runs[0]),
        "run, p95": _duration(runs[1]),
    }


def _middle_and_slow(milliseconds: Any) -> Sequence[ColumnElement[float | None]]:
    return [func.percentile_cont(share).within_group(milliseconds) for share in (0.5, 0.95)]


def _duration(milliseconds: float | None) -> str:
    if milliseconds is None:
        return "-"
    return f"{milliseconds:,.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:,.1f} s"


def _short(value: object, other: object) -> str:
    """Of a large set, what the other lacks."""
    if isinstance(value, set) and isinstance(other, set) and len(value | other) > 2:
        only = [str(item) for item in sorted(value - other, key=str)]
        return f"{len(value):,}, of which only here: {', '.join(only[:3]) or 'none'}{' …' if only[3:] else ''}"
    return str(value)
