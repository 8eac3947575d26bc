"""What the doctor found, on one page; each remedy stands on a line of its own, to be copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from jobforge_sa.ops import screen
from jobforge_sa.ops.doctor import report as doctor
from jobforge_sa.ops.doctor.report import Finding, Level, Report, Subject

LEVELS = {Level.ERROR: "bold red", Level.WARNING: "bold yellow", Level.NOTE: "bold cyan", Level.UNSEEN: "bright_black"}
FAULTS = (Level.ERROR, Level.WARNING, Level.NOTE)


def parts(report: Report) -> Iterator[RenderableType]:
    """What to print, from top to bottom."""
    yield _headline(report)
    yield Padding(_facts(report.subject), (1, 0, 0, 2))
    for level in FAULTS:
        for name, alike in groupby(report.of(level), key=lambda finding: finding.name):
            yield from _section(name, level, list(alike))
    if unseen := report.of(Level.UNSEEN):
        yield Text("\nnot looked at", LEVELS[Level.UNSEEN])
        for finding in unseen:
            yield Padding(Text(_plain(f"{finding.object}: {finding.detail}")), (0, 0, 0, 2))


def _headline(report: Report) -> Text:
    counts = {level: len(report.of(level)) for level in FAULTS}
    if not any(counts.values()):
        return Text("all is well", "bold green")
    said = [
        Text(f"{count} {level}{'s' if count > 1 else ''}", LEVELS[level]) for level, count in counts.items() if count
    ]
    return Text(", ").join(said)


def _facts(subject: Subject) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bright_black", no_wrap=True)
    facts.add_column(overflow="fold")
    roles = ", ".join(subject.roles) or "none of jobforge's"
    for name, value in (
        ("database", subject.database),
        ("login", f"{subject.login}{', a superuser' if subject.superuser else ''}"),
        ("roles", "all of them" if subject.superuser else roles),
        ("schema", subject.revision or "not known"),
        ("tenancy", subject.tenancy or "not known"),
        ("server", f"Postgres {subject.server}"),
    ):
        facts.add_row(name, Text(screen.one_line(value)))
    return facts


def _section(name: str, level: Level, findings: Sequence[Finding]) -> Iterator[RenderableType]:
    """One kind of fault: what it allows, then each place where it is."""
    yield Text.assemble("\n", (level.upper(), LEVELS[level]), "  ", (name, "bold"))
    if why := doctor.why(name):
        yield Padding(Text(why, "bright_black"), (0, 0, 0, 2))
    for finding in findings:
        yield Padding(Text.assemble((_plain(finding.object), "bold"), ": ", _plain(finding.detail)), (0, 0, 0, 2))
        if finding.remedy:
            # never wrapped: the terminal breaks the line, and what is copied has no break in it
            yield Text.assemble(("  cure: ", "green"), _plain(finding.remedy), no_wrap=True)


def _plain(text: str) -> str:
    """Names in the catalog may hold anything; a remedy is not cut."""
    return screen.one_line(text, 2000)
