"""The command `jobforge smoke`."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from jobforge_sa.ops import database, records, screen
from jobforge_sa.ops.options import Json, Url
from jobforge_sa.ops.smoke.ground import Ground
from jobforge_sa.ops.smoke.run import FAILED, PASSED, SKIPPED, Smoke, Step
from jobforge_sa.ops.stats.page import seconds

STYLES = {PASSED: "green", FAILED: "bold red", SKIPPED: "yellow"}
MARKS = {PASSED: "✓", FAILED: "✗", SKIPPED: "-"}


def smoke(
    url: Url = None,
    worker_url: Annotated[
        str | None, typer.Option(metavar="URL", help="As a worker's login.  \\[default: --url]")
    ] = None,
    admin_url: Annotated[
        str | None, typer.Option(metavar="URL", help="As an administrator's.  \\[default: --url]")
    ] = None,
    within: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long it may wait in all.")] = 30,
    as_json: Json = False,
) -> None:
    """Try it out with a throw-away tenant: enqueue, isolation, cancel, claim, pause, run, rescue; then clean up.

    Exit 0: all passed. 1: a part failed. 3: none failed, but one was skipped, for its login may not.
    """
    app, worker, admin = (
        database.engine(one, name="jobforge smoke") for one in (url, worker_url or url, admin_url or url)
    )
    console = screen.console()
    work = Smoke(Ground(app, worker, admin, within))
    work.run(lambda step: typer.echo(records.line(_record(step))) if as_json else _show(console, step))
    if not as_json:
        screen.show(console, Text(f"\n{_sum_up(work.steps)}"))
    raise typer.Exit(work.status)


def _record(step: Step) -> dict[str, Any]:
    return dataclasses.asdict(step) | {"seconds": round(step.seconds, 3)}


def _show(console: Console, step: Step) -> None:
    mark = f"{MARKS[step.status]} " if console.is_terminal and console.encoding.startswith("utf") else ""
    line = Text.assemble((f"{mark}{step.status:<8}", STYLES[step.status]), (f"{step.step:<10}", "bold"))
    line.append(f"{seconds(step.seconds):>6}  ", "bright_black")
    indent = line.cell_len
    says = Text(screen.one_line(step.says, 600))
    if step.cure:
        says.append(f"; cure: {screen.one_line(step.cure, 400)}", "green")
    parts = says.wrap(console, max(20, console.width - indent)) if console.is_terminal else [says]
    screen.show(console, *(Text.assemble(line if n == 0 else " " * indent, part) for n, part in enumerate(parts)))


def _sum_up(steps: list[Step]) -> str:
    count = {status: sum(step.status == status for step in steps) for status in (PASSED, FAILED, SKIPPED)}
    took = seconds(sum(step.seconds for step in steps))
    return ", ".join(f"{number} {status}" for status, number in count.items() if number) + f" in {took}"
