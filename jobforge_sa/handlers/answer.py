"""What a handler keeps of an answer: how it begins, without secrets, and when to come again."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

from jobforge_sa import redaction

if TYPE_CHECKING:
    from jobforge_sa.egress.client import Response

MOST_WAIT = dt.timedelta(days=1)  # who asks for more is asked again
LEAST_WAIT = dt.timedelta(seconds=1)  # "0" from a busy server would burn all attempts in a moment
LEAST_BEGINNING = 4  # characters: fewer are a word's end as often as not
LOOKED_AT = 16  # times the preview: so much is looked through for secrets

_SECONDS = re.compile(r"[0-9]{1,9}")
# what a terminal or a page would obey; line breaks and tabs stay
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def preview(body: bytes, limit: int, hidden: Iterable[str] = ()) -> str:
    """How a body begins, as text, without the secrets that were sent, and without what looks like one.

    Args:
        body: As it came.
        limit: Characters.
        hidden: What must not stand in it, for many a server says back what it was told: values of secrets, signatures.
    """
    text = body[: limit * LOOKED_AT].decode("utf-8", "replace")
    for shape in sorted({shape for secret in hidden for shape in _shapes(secret)}, key=len, reverse=True):
        text = _without_beginning(text.replace(shape, redaction.GONE), shape)  # the longest first: it may hold others
    text = redaction.text(_CONTROLS.sub("\ufffd", text))
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _shapes(secret: str) -> set[str]:
    """A secret as servers say it back: as it is, in JSON, in a URL, in base64."""
    if not secret:
        return set()
    told = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    told |= {secret.replace("/", r"\/"), quote(secret, safe=""), quote_plus(secret)}
    return told | {base64.b64encode(secret.encode()).decode()}


def _without_beginning(text: str, shape: str) -> str:
    """A body that is cut within a secret ends with its beginning."""
    for length in range(min(len(shape) - 1, len(text)), LEAST_BEGINNING - 1, -1):
        if text.endswith(shape[:length]):
            return text[:-length] + redaction.GONE
    return text


def retry_after(response: Response) -> dt.timedelta | None:
    """How long the other side asks to be left alone, 1 second to 1 day; None where it does not say, or not readably.

    A date counts from the answer's own Date: whether our clocks agree does not matter.
    """
    asked = response.header("Retry-After")
    if asked is None:
        return None
    if _SECONDS.fullmatch(asked.strip()):
        wait = dt.timedelta(seconds=int(asked))
    else:
        until, sent = _date(asked), _date(response.header("Date") or "")
        if until is None or sent is None:
            return None
        wait = until - sent
    return max(LEAST_WAIT, min(wait, MOST_WAIT))


def _date(text: str) -> dt.datetime | None:
    try:
        found = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)
