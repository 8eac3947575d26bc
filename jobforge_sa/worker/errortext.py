"""What of an error is kept: text that Postgres can store, that somebody reads, and that gives no secret away.

An error is stored with its job, shown by the command line and logged, and its tenant may read it. So values that
look like secrets, the parameters of SQL statements and the rows that Postgres quotes are left out. A secret that
looks like nothing in particular cannot be told from other text: keep it out of messages.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

import pydantic
from sqlalchemy.exc import StatementError

from jobforge_sa import redaction
from jobforge_sa.redaction import GONE
from jobforge_sa.tasks import faults

MAX_TEXT = 5_000  # characters of a message and of a traceback: 6 bytes each at worst, the database takes 64 kB

_MAX_LOOKED_AT = 8 * MAX_TEXT  # a message of 10 MB is cut before anybody looks for secrets in it
_FRAME = re.compile(r'^  File "([^"\n]{1,500})", line ([0-9]{1,7})', re.MULTILINE)
_OURS = str(Path(__file__).parents[1])
_LIBRARIES = ("site-packages", "dist-packages", "/lib/python", "lib/sqlalchemy/", "<frozen", _OURS)
_CAUSES = 50  # links of a chain of causes

# as in redaction, no text makes them slow
_QUOTED_ROWS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE | re.MULTILINE), instead)
    for pattern, instead in (
        (r"^(DETAIL:\s.{0,40}?row contains )(?s:\(.{0,9000}?\))\.$", rf"\1({GONE})."),
        (r"^(DETAIL:\s{1,5}Key \(.{0,500}?\)=)(?s:\(.{0,9000}?\))(?= )", rf"\1({GONE})"),
        (r"\binput_value=(?s:.{0,1000}?), (?=input_type=)", f"input_value={GONE}, "),  # pydantic's
    )
)


def message(error: BaseException) -> str:
    """What an error says of itself."""
    _hide_parameters(error)
    try:
        return faults(error) if isinstance(error, pydantic.ValidationError) else str(error)
    except BaseException as broken:  # an exception whose __str__ raises is still an exception
        return f"<str() of it raised {type(broken).__name__}>"


def trace(error: BaseException) -> str:
    """Where it came from, the newest 20 frames of each cause. Lines of source, no values of variables."""
    _hide_parameters(error)
    try:
        return "".join(traceback.format_exception(error, limit=-20, chain=True))
    except BaseException:
        return f"<no traceback: formatting it failed>\n{type(error).__name__}"


def place(traceback: str) -> str:
    """Where in the application a traceback ends, such as "shop/jobs.py:42"; nothing where no frame is its own."""
    own = [frame for frame in _FRAME.findall(traceback) if not any(part in frame[0] for part in _LIBRARIES)]
    return f"{'/'.join(Path(own[-1][0]).parts[-2:])}:{own[-1][1]}" if own else ""


def clean(text: str) -> str:
    """Text that Postgres stores: no NUL, no half surrogate pairs, no secrets, and not more than anybody reads."""
    text = _cut(text, _MAX_LOOKED_AT).encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    text = redaction.text(text)
    for pattern, instead in _QUOTED_ROWS:
        text = pattern.sub(instead, text)
    return _cut(text, MAX_TEXT)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]}\n…\n{text[-limit // 2 :]}"


def _hide_parameters(error: BaseException) -> None:
    """SQLAlchemy prints a statement's parameters; from here on these errors do not."""
    left: list[BaseException | None] = [error]
    for _ in range(_CAUSES):
        if not left:
            return
        one = left.pop()
        if one is None:
            continue
        if isinstance(one, StatementError):
            one.hide_parameters = True
        left += [one.__cause__, one.__context__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
