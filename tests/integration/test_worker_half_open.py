"""Connections that swallow packets: the worker breaks them off, and goes on over new ones."""

from __future__ import annotations

import datetime as dt
import logging
import random
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
from tests.chaos.proxy import Proxy
from tests.fix_postgres import make_logins
from tests.support import wait_for


class Number(BaseModel):
    n: int


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
    with Proxy(server.port, random.Random(0)) as proxy:
        yield proxy, sa.make_url(server.tcp_url_for("postgres", "jf_one")).set(port=proxy.port)
    server.stop()


def test_fault_006_a_worker_whose_connections_are_half_open_is_back_after_its_patience(
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
        proxy.kill_silently()
        enqueue(2)
        wait_for(lambda: 2 in ran, 30, "the worker to be back")
        enqueue(3)
        wait_for(lambda: 3 in ran, 30)
    severed = [record.getMessage() for record in caplog.records if "broken off" in record.getMessage()]
    assert severed
    assert len(severed) == len({line.partition(":")[0] for line in severed}), "each is said once"
