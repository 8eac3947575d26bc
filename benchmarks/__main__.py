"""Measure, show, and keep what was measured: `python -m benchmarks [--quick] [--only NAME] [--systems NAME] ...`."""

from __future__ import annotations

import argparse
import datetime as dt
import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import arena, report, systems
from benchmarks.noise import Noise
from benchmarks.question import Case, Setting, Tally

QUESTIONS: dict[str, str] = {
    "enqueue": "Enqueue, one by one",
    "bulk": "Enqueue in bulk",
    "drain": "Drain",
    "latency": "Idle latency",
    "load": "Latency under load",
    "backlog": "A backlog of a million",
    "snapshot": "While a snapshot is held",
    "fairness": "Fairness",
    "memory": "Memory of a worker",
    "rls": "Row level security",
}
ASKED_FOR = {"rls"}  # of ours alone, so only when it is named
RESULTS = Path(__file__).parent / "results"


def measure(place: arena.Arena, case: Case, rounds: int, noise: Noise, tell: Callable[[str], None]) -> Tally:
    """All rounds of one case: every contender once in each, each round beginning with another."""
    tally = Tally(case)
    names = list(case.contenders)
    for turn in range(min(rounds, case.rounds)):
        for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
            tell(f"{case.title}: {name}")
            contender = case.contenders[name]
            try:
                with place.fresh(contender.template(place)) as database, noise.listening():
                    measured = contender.run(database)
            except Exception as error:
                tally.failures[name] = f"{type(error).__name__}: {error}"
                measured = {}
            tally.add(name, measured, noise.samples[-1])
            tell("")
    return tally


def ask(place: arena.Arena, name: str, setting: Setting, rounds: int, console: Console) -> report.Section:
    """One question, with a bar that moves."""
    module = importlib.import_module(f"benchmarks.questions.{name}")
    cases: list[Case] = module.cases(setting)
    noise = Noise(known=place.pid is not None)
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task(
            QUESTIONS[name], total=sum(min(rounds, case.rounds) * len(case.contenders) for case in cases)
        )

        def tell(what: str) -> None:
            if what and not console.is_terminal:  # a file, or a log: nothing moves there
                console.print(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {what}", highlight=False)
            progress.update(bar, **({"description": f"{QUESTIONS[name]}, {what}"} if what else {"advance": 1}))

        tallies = [measure(place, case, rounds, noise, tell) for case in cases]
    section = report.Section(name, QUESTIONS[name], (module.__doc__ or "").strip(), tallies, str(noise))
    report.show(section, console)
    return section


def arguments() -> argparse.Namespace:
    """What is wanted."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small and once: whether it works, not how fast")
    parser.add_argument("--only", choices=QUESTIONS, action="append", help="this question; may be repeated")
    parser.add_argument(
        "--systems", choices=systems.PLACES, action="append", help="this one beside ours; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="default 3, with --quick 1")
    parser.add_argument("--write", action="store_true", help="save the report in benchmarks/results")
    options = parser.parse_args()
    if options.quick and options.write:
        parser.error("what --quick measures is not worth keeping")
    return options


def main() -> int:
    """Ask the questions one after the other."""
    options = arguments()
    rounds = options.rounds or (1 if options.quick else 3)
    console = Console()  # 80 columns where it is no terminal; the tables fit
    here, missing = systems.found([systems.OURS, *(options.systems or list(systems.PLACES)[1:])])
    setting = Setting(here, quick=options.quick)
    began = time.monotonic()
    with arena.provide() as place:
        head = report.Head.of(place.facts(), rounds, here, missing)
        head.show(console)
        chosen = options.only or [name for name in QUESTIONS if name not in ASKED_FOR]
        sections = []
        for name in chosen:
            sections.append(ask(place, name, setting, rounds, console))
            if options.write:  # after each: what breaks in the twentieth minute takes nothing along
                console.print(f"saved: {report.write(RESULTS, options.only or [], head, sections)}\n", highlight=False)
    console.print(f"all of it took {(time.monotonic() - began) / 60:.0f} minutes", highlight=False)
    return 1 if any(section.failures for section in sections) else 0


if __name__ == "__main__":
    sys.exit(main())
