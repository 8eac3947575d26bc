"""A database's URL for people to read."""

from __future__ import annotations

from sqlalchemy import URL


def shown(url: URL) -> str:
    """The URL as people write it, without its secrets; libpq takes passwords as parameters too."""
    secrets = [key for key in url.query if "password" in key.lower()]
    return url.set(drivername="postgresql").difference_update_query(secrets).render_as_string(hide_password=True)
