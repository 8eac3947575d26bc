"""The network and other programs, closed to a handler: by an audit hook of the interpreter, and at SQLAlchemy's pools.

It keeps an honest handler from acting on the world, and is no prison for a hostile one: what C code does by itself (a
driver of libpq's that is called directly, a library with sockets of its own) raises no audit event.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
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
# by a connection that was open before: no audit event tells of these
SENDING = ((socket.socket, ("send", "sendall", "sendfile")), (ssl.SSLSocket, ("send", "sendall", "sendfile", "write")))
MAX_TOLD = 100  # a handler may try again and again


class NetworkClosed(PermissionError):
    """A dry run lets nothing out. An `OSError`, so that a handler deals with it as with any failed connection."""


class _Lock:
    """The one hook of this process: a hook cannot be taken away again."""

    def __init__(self) -> None:
        self.tried: list[str] | None = None  # None: no handler runs
        self.for_good = False  # a handler has run: what it gave to a thread, or to `atexit`, comes later
        self._hooked = False

    def hook(self) -> None:
        if not self._hooked:
            self._hooked = True
            sys.addaudithook(self._heard)
            event.listen(Engine, "do_connect", self._connecting)
            event.listen(Pool, "checkout", self._taken)
            for kind, names in SENDING:
                for name in names:
                    setattr(kind, name, self._guarded(getattr(kind, name)))

    def refuse(self, what: str) -> None:
        if self.tried is None and not self.for_good:
            return
        if self.tried is not None and len(self.tried) < MAX_TOLD:
            self.tried.append(what)
        raise NetworkClosed(f"a dry run lets nothing out: {what}")

    def _heard(self, name: str, arguments: tuple[Any, ...]) -> None:
        if name in CLOSED:
            self.refuse(f"{name} {_shown(name, arguments)}".rstrip())

    def _guarded(self, send: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(send)
        def refusing(sender: socket.socket, *arguments: Any, **options: Any) -> Any:
            if peer := _peer(sender):
                self.refuse(f"socket.send {_address(peer)}")
            return send(sender, *arguments, **options)

        return refusing

    def _connecting(self, *_: object) -> None:
        self.refuse("a database connection of its own")

    def _taken(self, *_: object) -> None:  # one that its pool has already
        self.refuse("a database connection of its own")


_lock = _Lock()


@contextmanager
def closed() -> Iterator[list[str]]:
    """Nothing goes out in this process, in any thread, from now on until it ends.

    Not only as long as the handler runs: what it gave to a queue whose thread was there before, to a pool of threads or
    to `atexit` would go out behind it. Gives what was tried, which raised `NetworkClosed`.
    """
    _lock.hook()
    tried: list[str] = []
    process: Any = BaseProcess
    start = process.start
    _lock.tried, process.start = tried, _start
    try:
        yield tried
    finally:
        _lock.for_good = True  # before it is told no more
        _lock.tried, process.start = None, start


def _start(_process: BaseProcess) -> None:  # "spawn" raises no audit event
    _lock.refuse("multiprocessing.Process")


def _shown(name: str, arguments: tuple[Any, ...]) -> str:
    """Whom it was for. Not what was sent, and of a command its name alone: there may be secrets in both."""
    if name in ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg"):
        return _address(arguments[1] if len(arguments) > 1 else "")
    if name == "socket.getaddrinfo":
        return ":".join(_text(part) for part in arguments[:2] if part is not None)
    if name in ("os.system", "os.fork", "os.forkpty"):
        return ""
    return _text(arguments[0]) if arguments else ""


def _peer(sender: socket.socket) -> object:
    """Whom it talks to. Nobody: the two ends of a `socketpair`, by which an event loop wakes itself, have no names."""
    try:
        return sender.getpeername()
    except OSError:
        return None


def _address(address: object) -> str:
    return ":".join(map(str, address[:2])) if isinstance(address, tuple) else _text(address)


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
