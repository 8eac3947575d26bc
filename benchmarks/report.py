"""The figures as people read them: a table on the terminal, and the same as Markdown to keep."""

from __future__ import annotations

import datetime as dt
import itertools
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import sqlalchemy as sa
from rich.table import Table

from benchmarks.question import Figure

HEAD = ("median", "min – max", "ours / it")


def number(value: float) -> str:
    """Three digits are all that such a measurement knows."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cells(figure: Figure) -> tuple[str, str, str, str]:
    """One line of a table."""
    spread = f"{number(min(figure.values))} – {number(max(figure.values))}"
    ratio = "" if figure.is_ours else f"{figure.ratio:.2f}"
    return figure.contender, number(figure.median), spread, ratio


def groups(figures: Iterable[Figure]) -> Iterator[tuple[str, list[Figure]]]:
    """What may be compared: all contenders of one case and metric, under a title."""
    for title, group in itertools.groupby(figures, lambda figure: f"{figure.case}: {figure.metric.title}"):
        yield title, list(group)


def table(title: str, figures: Iterable[Figure]) -> Table:
    """One question's table."""
    shown = Table(title=title, title_justify="left", title_style="bold")
    shown.add_column("", min_width=30)
    for name in HEAD:
        shown.add_column(name, justify="right")
    for subtitle, group in groups(figures):
        shown.add_section()
        shown.add_row(f"[bold]{subtitle}")
        for figure in group:
            shown.add_row(*cells(figure), style="green" if figure.is_ours else "")
    return shown


def markdown(title: str, what: str, figures: Iterable[Figure]) -> str:
    """One question's section."""
    lines = [f"## {title}", "", what.strip(), ""]
    for subtitle, group in groups(figures):
        lines += [f"| {subtitle} | {' | '.join(HEAD)} |", "|---|---:|---:|---:|"]
        lines += [f"| {' | '.join(cells(figure))} |" for figure in group] + [""]
    return "\n".join(lines)


def machine() -> dict[str, str]:
    """What it ran on: without it no figure means anything."""
    model = platform.processor()
    cpus = Path("/proc/cpuinfo")
    if cpus.is_file():
        named = [
            line.partition(":")[2].strip() for line in cpus.read_text().splitlines() if line.startswith("model name")
        ]
        model = named[0] if named else model
    return {
        "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores, {model}, load {os.getloadavg()[0]:.2f} at the start",
        "code": _revision(),
        "software": f"Python {platform.python_version()}, SQLAlchemy {sa.__version__}",
    }


def _revision() -> str:
    """The commit, and whether the tree differs from it: figures of a tree in motion belong to nothing."""
    told = []
    for command in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--", "jobforge_sa", "alembic"]):
        try:
            git = ["git", "-C", str(Path(__file__).parent), *command]
            told.append(subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip())
        except (OSError, subprocess.SubprocessError):
            return "no git checkout"
    return f"{told[0]}, changed since" if told[1] else told[0]


def facts(machine: dict[str, str], server: dict[str, str], rounds: int) -> list[str]:
    """The head of a report."""
    settings = ", ".join(f"{name} {value}" for name, value in server.items() if name != "server_version")
    return [
        *(f"{name}: {value}" for name, value in machine.items()),
        f"server: Postgres {server['server_version']}, {settings}",
        f"rounds: {rounds}, interleaved, each on a fresh database; the ratio is the median of the rounds' ratios",
    ]


def write(folder: Path, only: list[str], head: list[str], sections: list[str]) -> Path:
    """Save a dated report; one of a few questions does not take the place of the whole."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{'-'.join((f'{dt.datetime.now(dt.UTC):%Y-%m-%d}', *only))}.md"
    text = ["# Figures of the day", "", *(f"- {line}" for line in head), "", *sections]
    path.write_text("\n".join(text).rstrip() + "\n")
    return path
