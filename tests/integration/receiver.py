"""A receiver of webhooks on loopback, which answers as it is told and keeps what came."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from jobforge_sa.egress.policy import Egress


@dataclass(frozen=True)
class Came:
    """A request that came."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """What it is answered."""

    status: int = 200
    body: bytes = b"thank you"
    headers: Mapping[str, str] = field(default_factory=dict)


class Receiver:
    """What came so far, and how the next one is answered."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.came: list[Came] = []
        self.answer: Callable[[Came], Answer] = lambda _: Answer()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def egress(self) -> Egress:
        """What lets a test's requests get here, and nowhere else."""
        return Egress(
            schemes=("http",),
            ports=(self.port,),
            allow_hosts=("127.0.0.1",),
            allow_networks=("127.0.0.1/32",),
            timeout=5,
        )

    @property
    def ids(self) -> list[str]:
        return [one.headers["webhook-id"] for one in self.came]


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came = Came(dict(self.headers.items()), self.rfile.read(int(self.headers["Content-Length"])))
            receiver.came.append(came)
            answer = receiver.answer(came)
            self.send_response(answer.status)
            for name, value in ({"Content-Length": str(len(answer.body))} | {**answer.headers}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
