"""Libraries that only some commands need."""

from __future__ import annotations

from importlib.util import find_spec

from jobforge_sa.errors import ConfigurationError

EXTRAS = {
    "cryptography": "connectors", "jinja2": "connectors",
    "prometheus_client": "prometheus", "pydantic_settings": "settings",
}  # fmt: skip


def require(module: str) -> None:
    """Say how to get a library that is not there.

    Raises:
        ConfigurationError: it is not.
    """
    if find_spec(module) is None:
        raise ConfigurationError(
            f"{module.replace('_', '-')} is not installed", cure=f"pip install 'jobforge_sa[{EXTRAS[module]}]'"
        )
