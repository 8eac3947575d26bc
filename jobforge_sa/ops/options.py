"""The options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The database.", show_default=False)]
TenantName = Annotated[str | None, typer.Option("--tenant", metavar="TENANT", help="Of this tenant only.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write to this file, not to the standard output.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file.")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines, one object each.")]
