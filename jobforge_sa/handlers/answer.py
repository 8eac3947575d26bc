"""What a handler keeps of an answer: how it begins, without secrets, and when to come again."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from jobforge_sa import redaction
from jobforge_sa.handlers.echo import Echo

if TYPE_CHECKING:
    from jobforge_sa.egress.client import Response

MOST_WAIT = dt.timedelta(days=1)  # who asks for more is asked again
LEAST_WAIT = dt.timedelta(seconds=1)  # "0" from a busy server would burn all attempts in a moment
LOOKED_AT = 16  # times the preview: so much is looked through for secrets

_SECONDS = re.compile(r"[0-9]{1,400}")
# what a terminal or a page would obey; line breaks and tabs stay
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def preview(body: bytes, limit: int, hidden: Iterable[str] | Echo = ()) -> str:
    """How a body begins, as text, without the secrets that were sent, and without what looks like one.

    Args:
        body: As it came.
        limit: Characters.
        hidden: What must not stand in it, for many a server says back what it was told: values of secrets, signatures.
    """
    text = body[: limit * LOOKED_AT].decode("utf-8", "replace")
    text = (hidden if isinstance(hidden, Echo) else Echo(hidden)).without(text)
    text = redaction.text(_CONTROLS.sub("\ufffd", text))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def retry_after(response: Response) -> dt.timedelta | None:
    """How long the other side asks to be left alone, 1 second to 1 day; None where it does not say, or not readably.

    A date counts from the answer's own Date: whether our clocks agree does not matter.
    """
    asked = response.header("Retry-After")
    if asked is None:
        return None
    if _SECONDS.fullmatch(asked.strip()):
        wait = dt.timedelta(seconds=min(int(asked), MOST_WAIT.total_seconds()))
    else:
        until, sent = _date(asked), _date(response.header("Date") or "")
        if until is None or sent is None:
            return None
        wait = until - sent
    return max(LEAST_WAIT, min(wait, MOST_WAIT))


def _date(text: str) -> dt.datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError, IndexError):  # a year, or a zone, of twenty digits
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)
