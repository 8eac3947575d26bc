"""The launcher of Postgres: it starts anywhere, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from jobforge_sa.testing import _docker, _process, server
from jobforge_sa.testing.server import EmbeddedServer, Installation, ServerError
from tests.support import blocked, wait_for

linux = pytest.mark.skipif(sys.platform != "linux", reason="the death signal and user namespaces are Linux's")
CHILD = """
import sys, time
from jobforge_sa.testing.server import EmbeddedServer
running = EmbeddedServer()
running.start()
print(running.pid, running.directory, flush=True)
{end}
"""


@pytest.fixture(autouse=True)
def _no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    # The JOBFORGE_PG_BINDIR by which `make test` chooses the version stays in force for what is started here.
    monkeypatch.setattr(_docker, "usable", lambda: False)
    monkeypatch.delenv("JOBFORGE_DATABASE_URL", raising=False)
    monkeypatch.delenv("JOBFORGE_POSTGRES", raising=False)


@pytest.fixture
def running() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as it:
        yield it


def ask(running: EmbeddedServer, query: str, url: str | None = None) -> object:
    engine = sa.create_engine(url or running.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.exec_driver_sql(query)
        return result.scalar() if result.returns_rows else None


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def child(end: str) -> tuple[subprocess.Popen[str], int, Path]:
    process = subprocess.Popen([sys.executable, "-c", CHILD.format(end=end)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    pid, directory = process.stdout.readline().split()
    return process, int(pid), Path(directory)


@pytest.mark.parametrize(
    "installation",
    [one for one in server.installations() if one.major >= 15],
    ids=lambda one: f"postgres{one.major}",
)
def test_every_installation_starts_as_whoever_we_are(installation: Installation) -> None:
    with EmbeddedServer(installation, settings={"work_mem": "5MB"}) as running:
        assert str(ask(running, "show server_version")).startswith(installation.text)
        assert ask(running, "show work_mem") == "5MB"
        assert ask(running, "select rolsuper from pg_roles where rolname = current_user") is True


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_pgport_in_the_environment_does_not_lead_elsewhere(
    running: EmbeddedServer, driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    assert ask(running, "select 1", running.url.replace("psycopg", driver)) == 1


def test_only_our_user_can_reach_the_folder(running: EmbeddedServer) -> None:
    assert running.directory.stat().st_mode & 0o777 == 0o700
    assert running.directory.stat().st_uid in (os.geteuid(), _process.nobody()[0])


def test_it_does_not_listen_on_tcp_unless_told(running: EmbeddedServer) -> None:
    assert ask(running, "show listen_addresses") == ""
    with pytest.raises(ServerError, match="tcp=True"):
        running.tcp_url_for()


def test_on_tcp_the_password_counts() -> None:
    with EmbeddedServer(tcp=True) as running:
        url = running.tcp_url_for()
        assert ask(running, "select host(inet_client_addr())", url) == "127.0.0.1"
        with pytest.raises(sa.exc.OperationalError, match="password"):
            ask(running, "select 1", url.replace(running.password, "wrong"))


def test_names_with_odd_characters_survive_the_url(running: EmbeddedServer) -> None:
    engine = sa.create_engine(running.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql('create role "a@b/c?" login')
        connection.exec_driver_sql('create database "x&y z"')
    assert (
        ask(running, "select current_user || current_database()", running.url_for("x&y z", "a@b/c?")) == "a@b/c?x&y z"
    )


@pytest.mark.parametrize("immediate", [False, True])
def test_committed_data_survives_a_restart_and_a_crash(running: EmbeddedServer, immediate: bool) -> None:
    ask(running, "create table kept as select 42 as n")
    before = running.pid
    running.restart(immediate=immediate)
    assert ask(running, "select n from kept") == 42
    assert running.pid != before
    assert not alive(before)
    crashed = "automatic recovery in progress" in (running.directory / "log").read_text()
    assert crashed is immediate


def test_stop_leaves_neither_process_nor_folder_and_may_be_repeated() -> None:
    running = EmbeddedServer()
    running.stop()
    running.start()
    pid, directory = running.pid, running.directory
    running.stop()
    running.stop()
    assert not alive(pid)
    assert not directory.exists()
    with pytest.raises(ServerError, match="not running"):
        _ = running.pid


def test_a_stopped_server_starts_again_but_not_twice() -> None:
    with EmbeddedServer() as running:
        with pytest.raises(ServerError, match="running already"):
            running.start()
        running.stop()
        running.start()
        assert ask(running, "select 1") == 1


def test_a_process_that_forgets_to_stop_it_leaves_nothing() -> None:
    process, pid, directory = child("sys.exit(0)")
    process.communicate(timeout=30)
    assert not alive(pid)
    assert not directory.exists()


@linux
def test_sigkill_of_the_parent_stops_the_server() -> None:
    process, pid, directory = child("time.sleep(600)")
    process.kill()
    process.communicate()
    wait_for(lambda: not alive(pid), 20, "the orphan to stop")
    age = (directory / "lock").stat().st_mtime - 3600
    os.utime(directory / "lock", (age, age))
    with EmbeddedServer():  # the next one tidies up after it
        assert not directory.exists()


def test_a_cluster_stands_in_memory_only_where_that_has_room_and_nobody_asks_for_another_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(server, "MEMORY", tmp_path)
    monkeypatch.setattr(server, "ROOM", 1)
    with EmbeddedServer() as quick:
        assert quick.directory.parent == tmp_path
        assert server._place(durable=True) != tmp_path  # it has to survive a power cut
    monkeypatch.setattr(server, "ROOM", 1 << 62)
    assert server._place(durable=False) != tmp_path
    monkeypatch.setattr(server, "ROOM", 1)
    monkeypatch.setenv("TMPDIR", "/tmp")
    assert server._place(durable=False) != tmp_path


def test_the_thread_that_started_it_may_end() -> None:
    running = EmbeddedServer()
    starter = threading.Thread(target=running.start)
    starter.start()
    starter.join()
    try:
        assert ask(running, "select pg_sleep(0.2) is null") is False  # longer than a fast shutdown takes
    finally:
        running.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
@pytest.mark.parametrize("copied", [False, True])
def test_without_user_namespaces_root_becomes_nobody(copied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = [one for one in server.installations() if one.wheel]
    if not wheels:
        pytest.skip("only the wheel's binaries can be copied")
    if copied:
        monkeypatch.setattr(_process, "_works", lambda *_: False)
    for module in (_process, server):
        monkeypatch.setattr(module, "identity", lambda: "nobody")
    with EmbeddedServer(wheels[0]) as running:
        assert Path(f"/proc/{running.pid}").stat().st_uid == _process.nobody()[0]
        assert (running.directory / "binaries").exists() is copied
        running.restart(immediate=True)
        assert ask(running, "select 1") == 1


def test_a_failed_start_shows_the_log_and_leaves_nothing() -> None:
    running = EmbeddedServer(settings={"work_mem": "plenty"})
    with pytest.raises(ServerError, match='invalid value for parameter "work_mem"'):
        running.start()
    assert running.directory == Path()


def test_a_forced_folder_without_binaries_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBFORGE_PG_BINDIR", str(tmp_path))
    with pytest.raises(ServerError, match=f"JOBFORGE_PG_BINDIR={tmp_path}"):
        EmbeddedServer().start()


def test_no_postgres_at_all_lists_the_cures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBFORGE_PG_BINDIR", raising=False)
    monkeypatch.setattr("jobforge_sa.testing._binaries.installations", list)
    with pytest.raises(ServerError, match=r"(?s)JOBFORGE_DATABASE_URL.*\[embedded\].*apt install.*Docker"):
        server.usable()
    with pytest.raises(ServerError, match="FIRST=postgresql"), server.provide(("FIRST",)):
        pass


def fake(folder: Path, version: str) -> None:
    folder.mkdir(parents=True)
    for name in ("initdb", "postgres"):
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n")
        (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with four packages of Postgres, one of them on PATH too, by a link."""
    for version in ("14.2 (Debian 14.2-1)", "16.9", "16.10", "17beta1"):
        fake(tmp_path / "lib" / version.split()[0] / "bin", version)
    links = tmp_path / "links"
    links.mkdir()
    for name in ("initdb", "postgres"):
        (links / name).symlink_to(tmp_path / "lib/16.10/bin" / name)
    monkeypatch.delenv("JOBFORGE_PG_BINDIR", raising=False)
    monkeypatch.setattr("jobforge_sa.testing._binaries.WHEELS", ())
    monkeypatch.setattr("jobforge_sa.testing._binaries.FOLDERS", (f"{tmp_path}/lib/*/bin",))
    monkeypatch.setenv("PATH", f"{links}:{os.environ['PATH']}")
    return tmp_path


def test_installations_come_newest_first_and_once(machine: Path) -> None:
    assert [one.text for one in server.installations()] == ["17beta1", "16.10", "16.9", "14.2"]


def test_too_old_ones_are_not_used(machine: Path) -> None:
    assert [one.major for one in server.usable()] == [17, 16, 16]


def test_the_wheel_can_be_refused_or_demanded(machine: Path) -> None:
    assert server.usable("local")[0].text == "17beta1"
    with pytest.raises(ServerError, match="no embedded Postgres"):
        server.usable("embedded")


def test_the_environment_url_wins_and_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBFORGE_POSTGRES", "embedded")
    monkeypatch.setenv("SECOND", "postgresql://second")
    with server.provide(("FIRST", "SECOND")) as url:
        assert url == "postgresql://second"
    assert server.describe(("FIRST", "SECOND")) == "the server of SECOND"


def test_without_an_url_one_is_started_for_the_block() -> None:
    with server.provide() as url:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            directory = Path(str(connection.scalar(sa.text("show data_directory"))))
        assert directory.is_dir()
    assert not directory.exists()


def test_a_docker_that_cannot_deliver_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOBFORGE_PG_BINDIR", raising=False)
    tried: list[bool] = []

    def refuse(settings: object) -> None:
        tried.append(True)
        raise RuntimeError("pull access denied")

    monkeypatch.setattr(_docker, "container", refuse)
    with server.provide() as url:
        assert "host=" in url
    assert tried == [True]
    monkeypatch.setenv("JOBFORGE_POSTGRES", "docker")
    with pytest.raises(ServerError, match="pull access denied"), server.provide():
        pass


def test_an_engine_that_is_not_there_is_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for host in (f"unix://{tmp_path}/docker.sock", "tcp://127.0.0.1:1", "ssh://somebody@"):
        assert not _docker._answers(host)


def test_an_error_in_the_block_is_not_taken_for_one_of_docker() -> None:
    with pytest.raises(ZeroDivisionError), server.provide():
        _ = 1 / 0


def test_a_wrong_choice_says_what_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBFORGE_POSTGRES", "oracle")
    with pytest.raises(ServerError, match="docker, embedded or local"), server.provide():
        pass


def test_the_command_line_lists_and_chooses(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [server.main([command]) for command in ("list", "oldest", "newest")] == [0, 0, 0]
    *listed, oldest, newest = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == ["17beta1", "16.10", "16.9", "14.2"]
    assert listed[-1].endswith("(too old)")
    assert (oldest, newest) == (f"{machine}/lib/16.9/bin", f"{machine}/lib/17beta1/bin")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_run_serves_until_told_to_end(how: signal.Signals) -> None:
    command = [sys.executable, "-m", "jobforge_sa.testing.server", "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            (directory,) = connection.execute("show data_directory").fetchone() or ("",)
        process.send_signal(how)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert not Path(directory).exists()


def test_blocked_returns_when_the_backend_waits_for_a_lock(running: EmbeddedServer) -> None:
    dsn = running.url.replace("+psycopg", "")
    admin = sa.create_engine(running.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with psycopg.connect(dsn) as first, psycopg.connect(dsn) as second, admin.connect() as watcher:
        first.execute("select pg_advisory_xact_lock(1)")
        waiter = threading.Thread(target=second.execute, args=("select pg_advisory_xact_lock(1)",))
        waiter.start()
        blocked(watcher, second.info.backend_pid)
        assert waiter.is_alive()
        first.rollback()
        waiter.join()
