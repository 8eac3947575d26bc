"""A real pgbouncer in transaction mode before the tests' server: one connection, handed from client to client."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from jobforge_sa.testing._process import identity, nobody, spawn
from tests.fix_postgres import ROLES, Database
from tests.support import wait_for

PORT = 6432  # of the socket's name only: it listens on no network

# default_pool_size counts for each pair of database and login
SETTINGS = """
[databases]
* = {server}
[pgbouncer]
listen_addr =
listen_port = {port}
unix_socket_dir = {directory}
auth_type = trust
auth_file = {directory}/logins
pool_mode = transaction
default_pool_size = {size}
query_wait_timeout = 20
"""
# since 1.21 it can take part in prepared statements; here it is as blind to them as all others are
BLIND = "max_prepared_statements = 0\n"


class Pgbouncer:
    """The ways through a running pgbouncer."""

    def __init__(self, database: Database, directory: Path, process: subprocess.Popen[bytes]) -> None:
        self.database, self.directory, self.process = database, directory, process

    def url(self, user: str, driver: str = "psycopg") -> sa.URL:
        """The URL of a login; drivers that prepare statements by themselves must be told not to."""
        place = f"host={quote(str(self.directory))}&port={PORT}"
        return sa.make_url(f"postgresql+{driver}://{user}@/{self.database.name}?{place}")

    def connect(self, user: str) -> psycopg.Connection[tuple[object, ...]]:
        """A client in autocommit, which holds the server connection for one statement at a time."""
        dsn = self.url(user).set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


@contextmanager
def pgbouncer(database: Database, size: int = 1) -> Iterator[Pgbouncer]:
    """Start one with so many server connections for each login, and stop it; skip where there is none, but in CI."""
    directory = Path(tempfile.mkdtemp(prefix="jobforge-bouncer-", dir="/tmp"))  # a socket's path ends at 107 bytes
    try:
        binary = _binary()
        process = spawn([binary, _configure(binary, database, directory, size)], directory)
        try:
            wait_for(lambda: _ready(process, directory), what="pgbouncer to listen")
            yield Pgbouncer(database, directory, process)
        finally:
            process.send_signal(signal.SIGTERM)  # at once; SIGINT would wait for the clients
            process.wait(10)
    finally:
        shutil.rmtree(directory)


def _binary() -> str:
    found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    if found is None:
        missing = "no pgbouncer on this machine (apt install pgbouncer)"
        if os.environ.get("CI"):
            pytest.fail(missing, pytrace=False)
        print(missing)
        pytest.skip(missing)
    return found


def _configure(binary: str, database: Database, directory: Path, size: int) -> Path:
    given = conninfo_to_dict(database.dsn())
    server = " ".join(f"{name}={given[name]}" for name in ("host", "port") if given.get(name))
    logins = "".join(f'"{login}" "{given.get("password") or ""}"\n' for login in ROLES)
    settings, secrets = directory / "pgbouncer.ini", directory / "logins"
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    blind = BLIND if (found := re.search(r"(\d+)\.(\d+)", said)) and int(found[2]) >= 21 else ""
    settings.write_text(SETTINGS.format(server=server, port=PORT, directory=directory, size=size) + blind)
    secrets.write_text(logins)
    if identity() == "nobody":  # it refuses to run as root, as Postgres does
        for path in (directory, settings, secrets):
            os.chown(path, *nobody())
    return settings


def _ready(process: subprocess.Popen[bytes], directory: Path) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"pgbouncer ended: {(directory / 'log').read_text()}")
    with socket.socket(socket.AF_UNIX) as client:  # the file is there a moment before anybody listens
        return client.connect_ex(str(directory / f".s.PGSQL.{PORT}")) == 0
