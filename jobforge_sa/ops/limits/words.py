"""Limits as they are written on the command line, and as they are read."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated

import typer

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.limits import BOUNDS, Limit

MaxRunning = Annotated[
    str | None, typer.Option("--max-running", metavar="N|none", help="So many of its jobs run at a time.")
]
Rate = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="N/s|none",
        help="So many of its runs begin: 5/s, 90/m, 1000/h, 1/d. A second sees at most rate + burst.",
    ),
]
Burst = Annotated[
    str | None,
    typer.Option("--burst", metavar="N|none", help="So many at once after a while without.  \\[default: a second's]"),
]
Weight = Annotated[
    str | None, typer.Option("--weight", metavar="N|none", help="So many times the share of a tenant without.")
]
MaxWaiting = Annotated[
    str | None, typer.Option("--max-waiting", metavar="N|none", help="So many of its jobs may be scheduled or queued.")
]

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}  # seconds
NAMES = {"s": "second", "m": "minute", "h": "hour", "d": "day"}


def change(**given: str | None) -> dict[str, float | None]:
    """What to change, of what was written.

    Raises:
        ConfigurationError: nothing was, or it is no number.
    """
    changed = {name: _number(name, text) for name, text in given.items() if text is not None}
    if not changed:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ConfigurationError("no limit is named", cure=f"pass one or more of {options}; none takes it away")
    return changed


def _number(name: str, text: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    (least, most), option = BOUNDS[name], f"--{name.replace('_', '-')}"
    if name == "rate":
        if not least <= (found := _rate(text)) <= most:
            raise ConfigurationError(
                f"{option} is more than 0, and up to {most:,}/s, not {text}",
                cure="write 5/s, 90/m, 1000/h or 1/d; none takes it away, --max-running 0 lets nothing begin",
            )
        return found
    if not re.fullmatch(r"[0-9]{1,20}", text):
        raise ConfigurationError(f"{text!r} is no number for {option}", cure="write a whole number, or none")
    if not least <= int(text) <= most:
        raise ConfigurationError(
            f"{option} is {least:,} to {most:,}, not {text}", cure="write a number of these; none takes it away"
        )
    return int(text)


def _rate(text: str) -> float:
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:/([smhd]))?", text.strip())
    if found is None:
        raise ConfigurationError(f"{text!r} is no rate", cure="write 5/s, 0.5/s, 90/m, 1000/h or 1/d; or none")
    return float(found[1]) / UNITS[found[2] or "s"]


def rate(runs: float) -> str:
    """A rate in the first unit in which it is one at least."""
    unit = _unit(runs)
    count = runs * UNITS[unit]
    return f"{count:,.0f}/{unit}" if count > 999_999 else f"{count:,.6g}/{unit}"


def most(runs: float, burst: int | None) -> str:
    """How many may begin in any one of the rate's unit: what a full bucket holds, and what comes in."""
    unit = _unit(runs)
    bucket = max(math.ceil(runs), 1) if burst is None else burst
    return f"{math.floor(round(runs * UNITS[unit] + bucket, 6)):,} in any {NAMES[unit]}"


def _unit(runs: float) -> str:
    return next((unit for unit, seconds in UNITS.items() if round(runs * seconds, 6) >= 1), "d")


def said(limit: Limit) -> str:
    """What holds, as a sentence goes on behind a name."""
    return "; ".join(_parts(limit)) or "no limits"


def _parts(limit: Limit) -> Iterator[str]:
    if limit.paused_at is not None:
        yield "paused"
    if limit.max_running is not None:
        yield f"at most {limit.max_running:,} of its jobs run at a time"
    if limit.rate is not None:
        burst = f"up to {limit.burst:,} at once, " if limit.burst is not None else ""
        yield f"at most {rate(limit.rate)} begin ({burst}{most(limit.rate, limit.burst)})"
    if limit.weight is not None:
        yield f"{limit.weight} times a tenant's share"
    if limit.max_waiting is not None:
        yield f"at most {limit.max_waiting:,} jobs may wait; an enqueue over that is refused"
