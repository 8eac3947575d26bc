"""A second server that streams from the first, and takes its place when that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from jobforge_sa.testing.server import EmbeddedServer, Installation, ServerError
from tests.faults.ground import Ground, own_ground
from tests.support import wait_for

CONNINFO = "primary_conninfo = 'host={host} port={port} user=postgres application_name=standby'\n"
STREAMS = "select count(*) from pg_stat_replication where state = 'streaming' and sync_state = 'sync'"


class Standby(EmbeddedServer):
    """Begins as a copy of a server that is stopped; trusts the same passwords."""

    def __init__(self, primary: EmbeddedServer) -> None:
        super().__init__(primary.installation, settings={"wal_retrieve_retry_interval": "200ms"}, tcp=True)
        self._primary = primary
        self.password = primary.password

    def _make_cluster(self, _installation: Installation) -> None:
        self._bindir = self._primary._bindir
        data = self.directory / "data"
        subprocess.run(["cp", "-a", self._primary.directory / "data", data], check=True)
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(CONNINFO.format(host=self._primary.directory, port=self._primary.port))
        (data / "standby.signal").touch()
        owner = (data / "PG_VERSION").stat()
        for path in (self.directory, data / "standby.signal"):
            os.chown(path, owner.st_uid, owner.st_gid)


class Pair(Ground):
    """A primary, and a standby without which nothing is committed."""

    def __init__(self, ground: Ground, standby: Standby) -> None:
        super().__init__(ground.server)
        self.standby = standby
        self._ports = (ground.server.port, standby.port)

    def writable(self, login: str) -> sa.Engine:
        """Whichever of the two can be written to, as libpq finds it."""
        hosts = "&".join(f"host=127.0.0.1:{port}" for port in self._ports)
        url = f"postgresql+psycopg://{login}:{self.server.password}@/postgres?{hosts}&target_session_attrs=read-write"
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"connect_timeout": 3})
        self._engines.append(engine)
        return engine

    def fail_over(self) -> None:
        """The primary crashes and is gone for good; the standby takes its place."""
        self.server._end(signal.SIGQUIT)
        self.server = self.standby
        self.run("select pg_promote()", "alter system set synchronous_standby_names = ''", "select pg_reload_conf()")


@contextmanager
def pair() -> Iterator[Pair]:
    """Start both; skip where that cannot be done."""
    with own_ground(tcp=True) as ground:
        ground.server._end(signal.SIGINT)  # the copy of a server that was stopped is a sound one
        standby = Standby(ground.server)
        try:
            standby.start()  # it is ready before there is anything to stream from
        except ServerError as error:
            pytest.skip(f"needs a standby: {error}")
        try:
            ground.server._launch()
            pair = Pair(ground, standby)
            pair.run("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
            wait_for(lambda: pair.look(STREAMS)[0]["count"], 30, "the standby to stream")
            yield pair
            pair.dispose()
        finally:
            standby.stop()
