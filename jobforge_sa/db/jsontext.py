"""JSON as text, decoded one value at a time: what Python cannot decode must not spoil the rows beside it.

Postgres holds integers of 5,000 digits, arrays 10,000 deep and 1e400. Python raises for the first two, where a driver
that decodes while it fetches would lose a whole page of jobs; the third becomes an infinity, which is no JSON any more.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pydantic_core

_MAY_BE_INFINITE = re.compile(r"[eE]\+?0*[1-9]\d\d|\d{309}")


def decode(text: str | None) -> Any:
    """The value; the text itself where Python cannot decode it, or could not write it again."""
    if text is None:
        return None
    try:
        # its depth is limited to 200: the standard library's is that of the stack, deeper for loads than for dumps
        value = pydantic_core.from_json(text)
        if _MAY_BE_INFINITE.search(text):
            json.dumps(value, allow_nan=False)
    except ValueError:
        return text
    return value
