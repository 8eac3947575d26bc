"""docs/leases.md as these tests read it: its tables have a row for each transition."""

from __future__ import annotations

import re

from tests.house.source import ROOT

PAGE = ROOT / "docs" / "leases.md"


def rows() -> dict[str, str]:
    """The rows that begin with transitions, by these: a machine reports them under that name."""
    found: dict[str, str] = {}
    for row in re.findall(r"^\| `\w+: [^|]*\|.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        for name in re.findall(r"`(\w+: [^`]+)`", row.split("|")[1]):
            assert name not in found, f"{name} stands in two rows"
            found[name] = row
    return found
