"""The figures as people read them: tables on the terminal, and the same with pictures as Markdown to keep."""

from __future__ import annotations

import datetime as dt
import math
import os
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import sqlalchemy as sa
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.question import Case, Figure, Metric, Tally
from benchmarks.systems.system import System

BESIDE = 4  # metrics of a case that stand beside each other; more get a table each
DISTURBED = " !"
SPREAD = "min – max"


@dataclass(frozen=True)
class Section:
    """What one question has brought."""

    name: str
    title: str
    text: str
    tallies: list[Tally]
    noise: str

    @property
    def failures(self) -> list[str]:
        """What could not be measured."""
        return [
            f"{tally.case.title}: {name}: {reason}" for tally in self.tallies for name, reason in tally.failures.items()
        ]


@dataclass(frozen=True)
class Head:
    """What it ran on, and who took part: without it no figure means anything."""

    facts: dict[str, str]
    systems: list[System]
    missing: dict[str, str]

    @classmethod
    def of(cls, server: dict[str, str], rounds: int, systems: list[System], missing: dict[str, str]) -> Self:
        """Look around."""
        settings = ", ".join(f"{name} {value}" for name, value in server.items() if name != "server_version")
        facts = {
            "date": dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M UTC"),
            "machine": f"{os.cpu_count()} cores, {_processor()}, load {os.getloadavg()[0]:.2f} at the start",
            "code": _revision(),
            "software": f"Python {platform.python_version()}, SQLAlchemy {sa.__version__}",
            "server": f"Postgres {server['server_version']}, {settings}",
            "rounds": f"{rounds}, interleaved, each on a fresh database; ratios are medians of the rounds' ratios",
        }
        return cls(facts, systems, missing)

    def show(self, console: Console) -> None:
        """On the terminal."""
        for name, value in self.facts.items():
            console.print(f"[bold]{name}:[/] {value}", highlight=False)
        console.print(f"[bold]systems:[/] {', '.join(f'{s.name} {s.version}' for s in self.systems)}", highlight=False)
        for name, reason in self.missing.items():
            console.print(f"[red]{name} does not take part: {reason}", highlight=False)

    def markdown(self) -> list[str]:
        """For the report."""
        return [
            *(f"- {name}: {value}" for name, value in self.facts.items()),
            f"- a mark ({DISTURBED.strip()}): the machine was busy with others' work in most rounds of this one",
            "",
            "| system | version | settings |",
            "|---|---|---|",
            *(f"| {system.name} | {system.package} {system.version} | {system.settings} |" for system in self.systems),
            *(f"| {name} | – | does not take part: {reason} |" for name, reason in self.missing.items()),
        ]


def number(value: float) -> str:
    """Three digits are all that such a measurement knows."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "never"
    if 0 < abs(value) < 0.1:
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def columns(case: Case, metrics: tuple[Metric, ...], between: str = ", ") -> list[str]:
    """The heads of a table: of the first metric more is told."""
    first, *more = (f"{metric.name}{between}{metric.unit} {metric.arrow}" for metric in metrics)
    return [first, SPREAD, *(["ours/it"] if case.compared else []), *more]


def rows(tally: Tally, metrics: tuple[Metric, ...]) -> Iterator[tuple[bool, list[str]]]:
    """The lines of a table, and whether they are ours."""
    figures = {(figure.contender, figure.metric.name): figure for figure in tally.figures()}
    for name in tally.case.contenders:
        first, *more = (figures[name, metric.name] for metric in metrics)
        ratio = [("" if first.is_ours else number(first.ratio))] if tally.case.compared else []
        marked = name + (DISTURBED if first.disturbed else "")
        yield first.is_ours, [marked, number(first.median), _spread(first), *ratio, *(number(f.median) for f in more)]


def tables(tally: Tally) -> Iterator[tuple[Metric, ...]]:
    """The metrics of each table of a case."""
    metrics = tally.case.metrics
    yield from [metrics] if len(metrics) <= BESIDE else [(metric,) for metric in metrics]


def table(tally: Tally, metrics: tuple[Metric, ...]) -> Table:
    """One of a case's tables, for the terminal."""
    shown = Table(
        title=tally.case.title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    rounds = any(len(figure.known) > 1 for figure in tally.figures())
    shown.add_column("", no_wrap=True, min_width=15)
    for name in columns(tally.case, metrics, "\n"):
        if rounds or name != SPREAD:
            shown.add_column(name, justify="right", vertical="bottom", no_wrap=True)
    for is_ours, (name, middle, spread, *more) in rows(tally, metrics):
        cells = (name, middle, *([spread] if rounds else []), *more)
        shown.add_row(*cells, style="green" if is_ours else "")
    return shown


def show(section: Section, console: Console) -> None:
    """One question's tables."""
    console.rule(f"[bold]{section.title}", align="left")
    for tally in section.tallies:
        for metrics in tables(tally):
            console.print(table(tally, metrics), highlight=False)
    for failure in section.failures:
        console.print(f"[red]not measured: {failure}", highlight=False)
    console.print(f"{section.noise}\n", highlight=False)


def markdown(section: Section, pictures: dict[str, str]) -> list[str]:
    """One question's section.

    Args:
        section: The question.
        pictures: The file of a picture, by the case's title.
    """
    lines = [f"## {section.title}", "", section.text, "", f"*{section.noise}*", ""]
    for tally in section.tallies:
        title = tally.case.title
        lines += [f"### {title[0].upper()}{title[1:]}", ""]
        if title in pictures:
            lines += [f"![{title}]({pictures[title]})", ""]
        for metrics in tables(tally):
            heads = columns(tally.case, metrics)
            lines += [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
            lines += [f"| {' | '.join(_bold(cells) if ours else cells)} |" for ours, cells in rows(tally, metrics)]
            lines += [""]
    return lines + [line for failure in section.failures for line in (f"Not measured: {failure}", "")]


def write(folder: Path, only: list[str], head: Head, sections: list[Section]) -> Path:
    """Save a dated report with its pictures; one of a few questions does not take the place of the whole."""
    from benchmarks import plots, summary  # the pictures' library is only in the environment of `make bench`

    folder.mkdir(exist_ok=True)
    name = "-".join((f"{dt.datetime.now(dt.UTC):%Y-%m-%d}", *only))
    text = ["# Figures of the day", "", *summary.summary(sections), *head.markdown(), ""]
    for section in sections:
        pictures = {}
        for place, tally in enumerate(section.tallies):
            if tally.case.plot:
                pictures[tally.case.title] = plots.draw(folder / f"{name}-{section.name}-{place + 1}.svg", tally).name
        text += markdown(section, pictures)
    path = folder / f"{name}.md"
    path.write_text("\n".join(text).rstrip() + "\n")
    return path


def _bold(cells: list[str]) -> list[str]:
    return [f"**{cell}**" if cell else cell for cell in cells]


def _spread(figure: Figure) -> str:
    return f"{number(min(figure.known))}–{number(max(figure.known))}" if len(figure.known) > 1 else ""


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    lines = cpus.read_text().splitlines() if cpus.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


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
