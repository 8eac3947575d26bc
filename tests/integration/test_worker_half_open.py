"""Connections that swallow packets: the worker breaks them off, and goes on over new ones."""

from __future__ import annotations

import datetime as dt
import logging
import socket
import threading
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from jobforge_sa import Context, JobForge, Jobs, Worker
from jobforge_sa.db import migrate
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from jobforge_sa.worker import link
from jobforge_sa.worker.listener import Listener
from jobforge_sa.worker.service import Service
from tests.fix_postgres import make_logins
from tests.support import wait_for


class Number(BaseModel):
    n: int


class Proxy:
    """A TCP proxy whose open connections can be made half-open: alive to both ends, and nothing passes any more."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._ears = socket.create_server(("127.0.0.1", 0))
        self._dead: list[threading.Event] = []
        self.port = self._ears.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on whatever is sent over the connections that are open is swallowed; new ones work."""
        for dead in self._dead:
            dead.set()

    def close(self) -> None:
        self._ears.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._ears.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            dead = threading.Event()
            self._dead.append(dead)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=(source, sink, dead), daemon=True).start()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket, dead: threading.Event) -> None:
        try:
            while data := source.recv(65536):
                if not dead.is_set():
                    sink.sendall(data)
        except OSError:
            pass
        finally:
            if not dead.is_set():
                sink.close()
            source.close()


@pytest.fixture
def proxied() -> Iterator[tuple[Proxy, sa.URL]]:
    server = EmbeddedServer(tcp=True)
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    superuser = sa.create_engine(server.url, poolclass=sa.NullPool)
    migrate.upgrade(superuser)
    make_logins(superuser)
    with superuser.begin() as connection:
        connection.exec_driver_sql(f"alter role jf_one password '{server.password}'")
    proxy = Proxy(server.port)
    url = sa.make_url(server.tcp_url_for("postgres", "jf_one")).set(port=proxy.port)
    yield proxy, url
    proxy.close()
    server.stop()


def test_a_worker_whose_connections_are_half_open_is_back_after_its_patience(
    proxied: tuple[Proxy, sa.URL], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Service, "patience", 1.0)
    monkeypatch.setattr(Listener, "patience", 2.0)
    monkeypatch.setattr(link, "CONNECT_TIMEOUT", 2)  # some may be opening theirs just then
    proxy, url = proxied
    forge, ran = JobForge(tenant="a"), list[int]()

    @forge.task()
    def note(ctx: Context, payload: Number) -> None:
        ran.append(payload.n)

    engine = sa.create_engine(url, poolclass=sa.NullPool)

    def enqueue(n: int) -> uuid.UUID:
        with Session(engine) as session, session.begin():
            return Jobs(session).enqueue(note, Number(n=n)).id

    with (
        caplog.at_level(logging.WARNING, "jobforge_sa"),
        Worker(engine, forge, lease=dt.timedelta(seconds=3), poll=dt.timedelta(seconds=0.2)),
    ):
        enqueue(1)
        wait_for(lambda: ran == [1])
        proxy.swallow()
        enqueue(2)
        wait_for(lambda: 2 in ran, 30, "the worker to be back")
        enqueue(3)
        wait_for(lambda: 3 in ran, 30)
    severed = [record.getMessage() for record in caplog.records if "broken off" in record.getMessage()]
    assert severed
    assert len(severed) == len({line.partition(":")[0] for line in severed}), "each is said once"
