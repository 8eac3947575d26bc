"""A few pages over HTTP for an orchestrator and Prometheus: one thread, whose clients harm nobody by being slow."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from jobforge_sa.errors import ConfigurationError

MOST = 200  # connections; the oldest makes way for a new one, so that whoever keeps them open shuts nobody out
PATIENCE = 10.0  # seconds for a whole exchange, however often a byte comes
HEAD = 8192  # bytes of a request
THREADS = 4  # for what takes longer than the loop should wait

log = logging.getLogger("jobforge_sa.http")


@dataclass(frozen=True, slots=True)
class Answer:
    """A page."""

    text: str
    status: HTTPStatus = HTTPStatus.OK
    kind: str = "text/plain; charset=utf-8"

    def head(self, length: int) -> bytes:
        """Its first lines."""
        said = (f"HTTP/1.1 {self.status.value} {self.status.phrase}", f"Content-Type: {self.kind}",
                f"Content-Length: {length}", "Cache-Control: no-store", "Connection: close", "", "")  # fmt: skip
        return "\r\n".join(said).encode()


Page = Callable[[], Answer]


class Server:
    """Answers GET and HEAD of a few paths, each by a function that is called in a thread.

    Args:
        host: Where it listens.
        port: 0: any that is free.
        pages: The paths.
    """

    def __init__(self, host: str, port: int, pages: Mapping[str, Page]) -> None:
        self._host, self._port, self._pages = host, port, pages
        self._clients: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._threads = ThreadPoolExecutor(THREADS, "jobforge-http")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._main, name="jobforge-http", daemon=True)
        self.url = ""

    def start(self) -> None:
        """Bind, and begin to answer.

        Raises:
            ConfigurationError: the address cannot be had.
        """
        try:
            family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
            bound = socket.create_server((self._host, self._port), family=family, backlog=MOST)
        except OSError as error:
            raise ConfigurationError(
                f"nothing can listen on {self._host} port {self._port}: {error.strerror or error}",
                cure="choose another port, or end what has it",
            ) from error
        host, port = bound.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, sock=bound, limit=HEAD))
        self._thread.start()

    def stop(self) -> None:
        """End it, whoever is connected."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _main(self) -> None:
        assert self._loop is not None
        try:
            self._loop.run_forever()
            self._loop.run_until_complete(self._end())
        finally:
            self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        for task in self._clients:
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients[task] = None
        if len(self._clients) > MOST:
            next(iter(self._clients)).cancel()
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(await self._answer(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.CancelledError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._clients.pop(task, None)

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, protocol = head.partition(b"\r\n")[0].decode("ascii").split(" ")
        except (asyncio.LimitOverrunError, ValueError):
            method, target, protocol = "", "", ""
        page = self._pages.get(target.partition("?")[0])
        if not protocol.startswith("HTTP/1."):
            answer = Answer("this is no request\n", HTTPStatus.BAD_REQUEST)
        elif method not in ("GET", "HEAD"):
            answer = Answer("only GET and HEAD\n", HTTPStatus.METHOD_NOT_ALLOWED)
        elif page is None:
            answer = Answer(f"there is {', '.join(self._pages)}\n", HTTPStatus.NOT_FOUND)
        else:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, _asked, page)
        body = answer.text.encode()
        return answer.head(len(body)) + (b"" if method == "HEAD" else body)


def address(text: str, default: str = "127.0.0.1") -> tuple[str, int]:
    """Host and port of `[HOST:]PORT`.

    Raises:
        ConfigurationError: it is none.
    """
    host, _, port = text.strip().rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536) or "/" in host:
        raise ConfigurationError(  # not the text, which may be a URL with a password in the wrong place
            "--http, or JOBFORGE_HTTP, is no address", cure="write 9187, or 0.0.0.0:9187 for all interfaces"
        )
    return host.removeprefix("[").removesuffix("]") or default, int(port)


def _asked(page: Page) -> Answer:
    try:
        return page()
    except Exception:
        with contextlib.suppress(Exception):
            log.exception("a page failed")
        return Answer("it failed; see the log\n", HTTPStatus.INTERNAL_SERVER_ERROR)
