"""A TCP proxy before the server that loses things: connections, packets, and the answer to a COMMIT."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
import threading
from collections import Counter
from collections.abc import Coroutine
from multiprocessing.managers import BaseManager
from typing import Any, Self, TypeVar

from tests.chaos import lifeline

T = TypeVar("T")

CHUNK = 65536


class Proxy:
    """Passes everything on, until told otherwise, in a process of its own: a cancel request of a libpq before 17 holds
    the interpreter lock of the process that sends it, which a proxy there would wait for.

    Args:
        target: The server's port on this machine.
        chance: Decides whose COMMIT is hit.
        lose_commit: How often a COMMIT's connection is cut: half of the time before it reaches the server, half of the
            time behind it, when the server has answered and the client has not heard.
    """

    def __init__(self, target: int, chance: random.Random, lose_commit: float = 0.0) -> None:
        self._elsewhere = _Elsewhere(ctx=multiprocessing.get_context("spawn"))
        self._made_of = (target, chance.random(), lose_commit)
        self._way: Any = None
        self.port = 0

    def __enter__(self) -> Self:
        self._elsewhere.start(initializer=lifeline.hold)
        self._way = self._elsewhere.Way(*self._made_of)  # type: ignore[attr-defined]
        self.port = self._way.open()
        return self

    def __exit__(self, *_: object) -> None:
        self._way.close()
        self._elsewhere.shutdown()

    @property
    def counts(self) -> Counter[str]:
        """What was lost."""
        found: Counter[str] = self._way.losses()
        return found

    def cut(self) -> int:
        """Reset all connections; give how many."""
        return int(self._way.cut())

    def kill_silently(self) -> None:
        """All connections that are open now are half-open for ever: nobody is told, nothing passes. New ones work."""
        self._way.kill_silently()

    def swallow(self) -> None:
        """From now on every connection, old or new, is open and dead: what is sent is gone."""
        self._way.swallow()

    def pass_on(self) -> int:
        """Pass on again; all connections are reset, because what they swallowed is gone. Give how many."""
        return int(self._way.pass_on())

    def peace(self) -> None:
        """Lose nothing any more."""
        self._way.peace()


class _Way:
    """The proxy, in its process. Its loop has a thread of its own."""

    def __init__(self, target: int, seed: float, lose_commit: float) -> None:
        self._target, self._chance = target, random.Random(seed)
        self._lose_commit = lose_commit
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy", daemon=True)
        self._open: set[_Wire] = set()
        self._passing: set[asyncio.Task[Any]] = set()
        self._swallows = False
        self._server: asyncio.Server | None = None
        self._counts: Counter[str] = Counter()

    def open(self) -> int:
        self._thread.start()
        self._server = self._ask(asyncio.start_server(self._accept, "127.0.0.1", 0))
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        self._ask(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def losses(self) -> Counter[str]:
        return self._counts

    def cut(self) -> int:
        return self._ask(self._cut())

    def kill_silently(self) -> None:
        for wire in list(self._open):
            wire.dead = True

    def swallow(self) -> None:
        self._swallows = True

    def pass_on(self) -> int:
        self._swallows = False
        return self.cut()

    def peace(self) -> None:
        self._lose_commit = 0.0
        if self._swallows:
            self.pass_on()

    # -- in the loop -------------------------------------------------------------------

    def _ask(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _cut(self) -> int:
        wires = list(self._open)
        for wire in wires:
            if not wire.dead:
                wire.cut()
        return len(wires)

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        for wire in list(self._open):
            wire.cut()
        if self._passing:
            await asyncio.wait(self._passing, timeout=5)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # the server is starting
            writer.transport.abort()
            return
        wire = _Wire(writer, server_writer)
        self._open.add(wire)
        if task := asyncio.current_task():
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)
        try:
            await asyncio.gather(self._there(reader, server_writer, wire), self._back(server_reader, writer, wire))
        finally:
            self._open.discard(wire)
            wire.cut()

    async def _there(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, wire: _Wire) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if self._swallows or wire.dead:
                    continue
                if b"COMMIT\x00" in data and self._chance.random() < self._lose_commit:
                    if self._chance.random() < 0.5:
                        self._counts["commits lost"] += 1
                        break
                    self._counts["commits unanswered"] += 1
                    wire.deaf = True
                sink.write(data)
                await sink.drain()
        wire.cut()

    async def _back(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, wire: _Wire) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(CHUNK):
                if wire.deaf:
                    break
                if not self._swallows and not wire.dead:
                    sink.write(data)
                    await sink.drain()
        if not wire.dead:  # half-open: the server may be long gone, and the client is not told
            wire.cut()


class _Elsewhere(BaseManager):
    """The process of a proxy."""


_Elsewhere.register(
    "Way", _Way, exposed=("open", "close", "losses", "cut", "kill_silently", "swallow", "pass_on", "peace")
)


class _Wire:
    """One connection: both ends."""

    def __init__(self, *ends: asyncio.StreamWriter) -> None:
        self._ends = ends
        self.dead = False  # half-open
        self.deaf = False  # the next answer is not passed on

    def cut(self) -> None:
        for end in self._ends:
            end.transport.abort()
