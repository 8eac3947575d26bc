"""The options that several commands take."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[str | None, typer.Option("--url", metavar="URL", help="The database.", show_default=False)]
TenantName = Annotated[str | None, typer.Option("--tenant", metavar="TENANT", help="Of this tenant only.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines, one object each.")]
