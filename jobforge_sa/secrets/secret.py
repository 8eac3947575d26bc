"""`Secret`: a value that a handler may use for one run, and that no log and no error shows."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of a tenant's, opened for one run.

    Attributes:
        name: What payloads call it.
        values: The current one first; then, while a rotation lasts, the one that it replaced.
        hosts: Where it may go in a header: `api.example.com`, `*.example.com`. Empty: nowhere.
    """

    name: str
    values: tuple[str, ...] = field(repr=False)
    hosts: tuple[str, ...] = ()

    @property
    def value(self) -> str:
        """The current one."""
        return self.values[0]
