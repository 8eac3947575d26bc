"""The queues that are compared: each is one file, so that a reader can see whether its settings are fair."""

from __future__ import annotations

import importlib
from typing import Final

from benchmarks.systems.system import System

OURS: Final = "jobforge_sa"
YARDSTICK: Final = "by hand"
# where each is; ours first, the yardsticks behind it
PLACES: Final = {
    OURS: "ours",
    YARDSTICK: "by_hand",
    "by hand 500": "by_hand:LARGE",
    "pgqueuer": "pgqueuer",
    "awa": "awa",
    "chancy": "chancy",
    "oban": "oban",
    "dbos": "dbos",
    "absurd": "absurd",
    "procrastinate": "procrastinate",
    "saq": "saq",
}
PEERS: Final = {name for name, place in PLACES.items() if place.partition(":")[0] not in ("ours", "by_hand")}


def load(name: str) -> System:
    """Import one.

    Raises:
        ImportError: its package is not here.
    """
    module, _, attribute = PLACES[name].partition(":")
    system: System = getattr(importlib.import_module(f"benchmarks.systems.{module}"), attribute or "SYSTEM")
    return system


def found(names: list[str]) -> tuple[list[System], dict[str, str]]:
    """Those that can be run, and the reasons why others cannot."""
    here: list[System] = []
    missing: dict[str, str] = {}
    for name in names:
        try:
            here.append(load(name))
        except ImportError as error:
            missing[name] = str(error)
    return here, missing
