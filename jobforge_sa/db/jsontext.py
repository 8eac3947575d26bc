"""JSON as text, decoded one value at a time: what Python cannot decode must not spoil the rows beside it.

Postgres holds integers of 5,000 digits and arrays 10,000 deep; Python's decoder raises for both. A driver that
decodes while it fetches would lose a whole page of jobs to one of them.
"""

from __future__ import annotations

import json
from typing import Any


def decode(text: str | None) -> Any:
    """The value; the text itself where Python cannot decode it."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
