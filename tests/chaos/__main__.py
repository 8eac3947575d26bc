"""Break everything for a while, and look what is left: `python -m tests.chaos [--minutes N] [--seed N]`."""

from __future__ import annotations

import argparse
import random
import sys

from rich.console import Console

from tests.chaos import report
from tests.chaos.storm import Plan, Storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long things are broken; default 10")
    parser.add_argument("--seed", type=int, help="of the faults; default by chance, and printed")
    parser.add_argument("--workers", type=int, default=4, help="worker processes; default 4")
    parser.add_argument("--rate", type=float, default=8.0, help="transactions a second of each tenant; default 8")
    parser.add_argument("--only", action="append", help="this fault, such as kills; may be repeated; default all")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1_000_000)
    only = frozenset(options.only) if options.only else None
    plan = Plan(options.minutes * 60, seed, options.workers, options.rate, durable=True, only=only)
    console = Console()
    console.print(f"seed {seed}, {options.minutes:g} minutes, Ctrl-C stops everything", highlight=False)
    try:
        with report.Screen(console, plan.seconds) as screen:
            result = Storm(plan, screen.show).run()
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    report.show(console, result)
    return 0 if result.sound else 1


if __name__ == "__main__":
    sys.exit(main())
