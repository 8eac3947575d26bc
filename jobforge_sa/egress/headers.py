"""The headers of a request: which may be set, and which characters they may have. Needs no network library."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NoReturn

from jobforge_sa.errors import Blocked

MOST_HEADERS = 100
MOST_HEADER_BYTES = 32 * 1024

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
# no control character, not a tab either; nothing beyond ASCII; no blank around it
_VALUE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
# they say where a message ends and who else shall see it: ours to say
_OURS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade", "expect",
     "accept-encoding", "http2-settings"}
)  # fmt: skip


def check(headers: Mapping[str, str]) -> None:
    """Refuse headers that could be read in two ways, or that are not the sender's to set.

    Raises:
        Blocked: one of them is, or they are too many. No value is shown: it may be a secret.
    """
    seen: set[str] = set()
    for name, value in headers.items():
        check_name(name)
        if not _VALUE.fullmatch(value):
            _refuse(f"the header {name} has a value with a character that no header has", "write visible ASCII")
        if name.lower() in seen:
            _refuse(f"the header {name} is there twice", "write it once")
        seen.add(name.lower())
    size = sum(len(name) + len(value) + 4 for name, value in headers.items())
    if len(headers) > MOST_HEADERS or size > MOST_HEADER_BYTES:
        _refuse("there are too many headers", f"send {MOST_HEADERS} at most, of {MOST_HEADER_BYTES} bytes in all")


def check_name(name: str) -> None:
    """Refuse the name of a header.

    Raises:
        Blocked: it is none, or not the sender's to set.
    """
    if not _NAME.fullmatch(name):
        _refuse(f"{name[:40]!r} is no name of a header", "write letters, digits and -")
    if name.lower() in _OURS or name.lower().startswith("proxy-"):
        _refuse(f"the header {name} is not yours to set", "leave it out")


def _refuse(why: str, cure: str) -> NoReturn:
    raise Blocked(why, cure=cure)
