"""The network and other programs, closed to a handler: by an audit hook of the interpreter, and at SQLAlchemy's pools.

It keeps an honest handler from acting on the world, and is no prison for a hostile one: what C code does by itself (a
driver of libpq's that is called directly, a library with sockets of its own) raises no audit event.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any

from sqlalchemy import Engine, Pool, event

# those that name a host come first where a library raises its own: they say more than an address
CLOSED = frozenset(
    {
        "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyaddr", "socket.gethostbyname",
        "socket.getnameinfo", "socket.sendmsg", "socket.sendto", "subprocess.Popen", "os.exec", "os.fork",
        "os.forkpty", "os.posix_spawn", "os.spawn", "os.startfile", "os.system", "pty.spawn", "webbrowser.open",
    }
)  # fmt: skip
MAX_TOLD = 100  # a handler may try again and again


class NetworkClosed(PermissionError):
    """A dry run lets nothing out. An `OSError`, so that a handler deals with it as with any failed connection."""


class _Lock:
    """The one hook of this process: a hook cannot be taken away again."""

    def __init__(self) -> None:
        self.tried: list[str] | None = None  # None: no handler runs
        self.left: set[threading.Thread] = set()  # which a handler has started and not waited for
        self._hooked = False

    def hook(self) -> None:
        if not self._hooked:
            self._hooked = True
            sys.addaudithook(self._heard)
            event.listen(Engine, "do_connect", self._connecting)
            event.listen(Pool, "checkout", self._taken)

    def refuse(self, what: str) -> None:
        if self.tried is None and not any(thread.is_alive() for thread in self.left):
            return
        if self.tried is not None and len(self.tried) < MAX_TOLD:
            self.tried.append(what)
        raise NetworkClosed(f"a dry run lets nothing out: {what}")

    def _heard(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in CLOSED:
            self.refuse(f"{name} {_shown(name, arguments)}".rstrip())

    def _connecting(self, *_: object) -> None:
        self.refuse("a database connection of its own")

    def _taken(self, *_: object) -> None:  # one that its pool has already
        self.refuse("a database connection of its own")


_lock = _Lock()


@contextmanager
def closed() -> Iterator[list[str]]:
    """Nothing goes out in this process, in any thread, also later as long as one lives that was started meanwhile.

    Gives what was tried, which raised `NetworkClosed`.
    """
    _lock.hook()
    tried: list[str] = []
    process: Any = BaseProcess
    start, before = process.start, set(threading.enumerate())
    _lock.tried, process.start = tried, _start
    try:
        yield tried
    finally:
        _lock.left = set(threading.enumerate()) - before
        _lock.tried, process.start = None, start


def _start(_process: BaseProcess) -> None:  # "spawn" raises no audit event
    _lock.refuse("multiprocessing.Process")


def _shown(name: str, arguments: tuple[Any, ...]) -> str:
    """Whom it was for. Not what was sent, and of a command its name alone: there may be secrets in both."""
    if name in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        address = arguments[1] if len(arguments) > 1 else ""
        return ":".join(map(str, address[:2])) if isinstance(address, tuple) else _text(address)
    if name == "socket.getaddrinfo":
        return ":".join(_text(part) for part in arguments[:2] if part is not None)
    if name in ("os.system", "os.fork", "os.forkpty"):
        return ""
    return _text(arguments[0]) if arguments else ""


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
