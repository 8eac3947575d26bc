"""Measure, show, and keep what was measured: `python -m benchmarks [--quick] [--only NAME] [--rounds N] [--write]`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import arena, bulk, drain, enqueue, latency, report, rls, wal
from benchmarks.noise import Noise
from benchmarks.question import Case, Figure, Tally

QUESTIONS: dict[str, tuple[str, ModuleType]] = {
    "enqueue": ("Enqueue, one by one", enqueue),
    "bulk": ("Enqueue in bulk", bulk),
    "drain": ("Drain", drain),
    "latency": ("Idle latency", latency),
    "wal": ("WAL of a whole life", wal),
    "rls": ("Row level security", rls),
}


def measure(place: arena.Arena, case: Case, rounds: int, noise: Noise, tell: Callable[[str], None]) -> list[Figure]:
    """All rounds of one case: every contender once in each, each round beginning with another."""
    tally = Tally(case)
    names = list(case.contenders)
    tell(f"{case.title}: filling")
    with place.filled(case.fill) as template:
        for turn in range(rounds):
            for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
                tell(f"{case.title}: {name}")
                with place.fresh(template) as database:
                    noise.listen()
                    tally.add(name, case.contenders[name](database))
                tell("")
    return tally.figures()


def ask(place: arena.Arena, cases: list[Case], rounds: int, noise: Noise, title: str, console: Console) -> list[Figure]:
    """One question, with a bar that moves."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(title, total=rounds * sum(len(case.contenders) for case in cases))

        def tell(what: str) -> None:
            progress.update(bar, **({"description": f"{title}, {what}"} if what else {"advance": 1}))

        return [figure for case in cases for figure in measure(place, case, rounds, noise, tell)]


def main() -> None:
    """Ask the questions one after the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and once: whether it works, not how fast")
    parser.add_argument("--only", choices=QUESTIONS, action="append", help="this question; may be repeated")
    parser.add_argument("--rounds", type=int, help="default 3, with --quick 1")
    parser.add_argument("--write", action="store_true", help="save the report in benchmarks/results")
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("what --quick measures is not worth keeping")
    rounds = options.rounds or (1 if options.quick else 3)
    console = Console()  # 80 columns where it is no terminal; the tables fit
    machine = report.machine()
    with arena.provide() as place:
        head = report.facts(machine, place.facts(), rounds)
        for line in head:
            console.print(line, highlight=False)
        sections = []
        for name in options.only or QUESTIONS:
            title, module = QUESTIONS[name]
            noise = Noise(0.02 if options.quick else 0.25)
            figures = ask(place, module.cases(quick=options.quick), rounds, noise, title, console)
            console.print("", report.table(title, figures), str(noise), highlight=False)
            sections.append(report.markdown(title, f"{(module.__doc__ or '').strip()}\n\n*{noise}*", figures))
    if options.write:
        console.print(
            f"\nsaved as {report.write(Path(__file__).parent / 'results', options.only or [], head, sections).name}"
        )


if __name__ == "__main__":
    main()
