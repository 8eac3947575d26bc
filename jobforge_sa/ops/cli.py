"""The door of the command `jobforge`. It opens without Typer and rich too, to say how to get them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from jobforge_sa.errors import JobForgeError

NEEDED = ("typer", "rich")


def main() -> None:
    """Run the command line and exit with its status."""
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        sys.stderr.write(f"error: {' and '.join(missing)} not installed; run: pip install 'jobforge_sa[cli]'\n")
        sys.exit(2)
    from jobforge_sa.ops import screen
    from jobforge_sa.ops.commands import app

    try:
        app(prog_name="jobforge")
    except JobForgeError as error:
        screen.refuse(error)
        sys.exit(2)
