"""A worker process with children: killed, stopped and stopped twice, it leaves none behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs
from tests.fix_postgres import Database
from tests.house.source import ROOT
from tests.integration import process_app as app
from tests.integration.process_app import Order
from tests.support import wait_for


class Shop:
    """Workers of the command line, and a folder in which their handlers say how far they are."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder, self.engine = database, folder, database.engine("jf_one")
        with database.engine().begin() as c:
            c.execute(sa.text("create table effects (n int, tenant text)"))
            c.execute(sa.text("grant all on effects to jf_one"))

    @contextmanager
    def worker(self, *options: str) -> Iterator[subprocess.Popen[str]]:
        url = self.database.url("jf_one").render_as_string(hide_password=False)
        command = [sys.executable, "-m", "jobforge_sa", "worker", f"{app.__name__}:forge", "--lease", "1", *options]
        worker = subprocess.Popen(
            command, env=os.environ | {"JOBFORGE_DATABASE_URL": url}, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        try:
            yield worker
        finally:
            worker.kill()
            worker.communicate()

    def enqueue(self, name: str, n: int = 1) -> uuid.UUID:
        with Session(self.engine) as session, session.begin():
            order = Order(n=n, folder=str(self.folder))
            return Jobs(session, tenant="acme").enqueue(app.forge.tasks[name], order).id

    def running(self, n: int = 1) -> int:
        said = self.folder / f"running-{n}"
        wait_for(said.exists, 60, said.name)
        return int(said.read_text())

    def state(self, job: uuid.UUID) -> tuple[str, int]:
        with Session(self.engine) as session:
            info = Jobs(session, tenant="acme").get(job)
        return str(info.state), info.attempt


@pytest.fixture
def shop(database: Database, tmp_path: Path) -> Shop:
    return Shop(database, tmp_path)


def gone(pid: int) -> None:
    def ended() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(ended, 10, f"process {pid} to be gone")


def test_a_killed_worker_leaves_no_child_and_its_jobs_run_again(shop: Shop) -> None:
    """One child is busy in Python, one in C code that holds its interpreter lock, one has nothing to do."""
    spins, _, who = shop.enqueue("spins", 1), shop.enqueue("frozen", 2), shop.enqueue("who", 3)
    with shop.worker() as first:
        children = [shop.running(n) for n in (1, 2)]
        wait_for(lambda: shop.state(who)[0] == "succeeded", 60)
        with Session(shop.engine) as session:
            result = Jobs(session, tenant="acme").get(who).result
        assert isinstance(result, dict)
        children.append(int(str(result["pid"])))
        assert result["parent"] == first.pid
        first.kill()
        for child in children:
            gone(child)
    (shop.folder / "gate").touch()
    with shop.worker():
        wait_for(lambda: shop.state(spins) == ("succeeded", 1), 60)
    with shop.database.engine().connect() as c:
        assert list(c.scalars(sa.text("select n from effects"))) == [1]


def test_one_signal_to_the_whole_group_lets_children_finish(shop: Shop) -> None:
    job = shop.enqueue("spins")
    with shop.worker() as worker:
        child = shop.running()
        os.kill(child, signal.SIGTERM)  # as a service manager does, which sends it to all
        worker.terminate()
        os.kill(child, signal.SIGTERM)
        (shop.folder / "gate").touch()
        assert worker.wait(30) == 0
    assert shop.state(job)[0] == "succeeded"
    gone(child)


@pytest.mark.parametrize("name", ["spins", "frozen"])
def test_a_second_signal_kills_the_children_at_once_and_gives_their_jobs_back(shop: Shop, name: str) -> None:
    job = shop.enqueue(name)
    with shop.worker("--grace", "600") as worker:
        child = shop.running()
        worker.terminate()
        worker.send_signal(signal.SIGINT)  # another one, for two of a kind that come together are one
        assert worker.wait(30) == 3
        gone(child)
    assert shop.state(job) == ("queued", 0)
    with shop.database.engine().connect() as c:
        assert list(c.scalars(sa.text("select n from effects"))) == []
