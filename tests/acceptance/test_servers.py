"""A worker inside a web application: gunicorn forks what it has preloaded, uvicorn starts anew when a file changes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import JobForge, Jobs
from tests.acceptance.door import ask, listens, running
from tests.fix_postgres import Database
from tests.support import wait_for

APPLICATION = """
import datetime as dt
import os
import time
from pathlib import Path
import sqlalchemy as sa
from sqlalchemy.orm import Session
from starlette.applications import Starlette
from jobforge_sa import Context, JobForge, Jobs, Worker

HERE = Path(__file__).parent
forge = JobForge(tenant="a")

@forge.task()
def note(ctx: Context, payload: dict[str, str]) -> None:
    (HERE / payload["name"]).write_text(str(os.getpid()))

@forge.task()
def waits(ctx: Context, payload: dict[str, str]) -> None:
    (HERE / payload["name"]).write_text(str(os.getpid()))
    while not ctx.canceled:
        time.sleep(0.01)
    ctx.check()

engine = sa.create_engine(os.environ["SHOP_URL"])
worker = Worker(engine, forge, grace=dt.timedelta(seconds=0.2))
app = Starlette(lifespan=worker.lifespan)

def wsgi(environ, start_response):
    with Session(engine) as session, session.begin():
        Jobs(session).enqueue(note, {"name": environ["PATH_INFO"].strip("/")})
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]
"""

forge = JobForge(tenant="a")


@forge.task()
def waits(ctx: object, payload: dict[str, str]) -> None: ...


@contextmanager
def serving(database: Database, folder: Path, module: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server of an application, until it is told to end; then it has ended well."""
    (folder / "shop.py").write_text(APPLICATION)
    (folder / "preloaded.py").write_text("from shop import worker, wsgi\nworker.start()\n")
    url = database.url("jf_one").render_as_string(hide_password=False)
    with running((module, *command), folder / "log", folder, {**os.environ, "SHOP_URL": url}) as server:
        yield server


def get(door: Path, name: str) -> int:
    """Ask the server behind a socket; give the process that has answered."""
    status, body = ask(door, "GET", f"/{name}")
    assert status == 200
    return int(body)


def written(path: Path) -> int:
    """The process that wrote that, when it has."""
    return wait_for(lambda: int(path.read_text() or 0) if path.exists() else 0, 20, str(path))


def state(database: Database) -> list[tuple[str, int, int]]:
    with database.engine().connect() as connection:
        connection.execute(sa.text("set local role jobforge_admin"))
        rows = connection.execute(sa.text("select state, run, attempt from jobforge.all_jobs"))
        return [(row.state, row.run, row.attempt) for row in rows]


def test_fault_039_gunicorn_with_preload_has_one_worker_in_its_first_process_and_forks_that_enqueue(
    database: Database, tmp_path: Path
) -> None:
    door = tmp_path / "door"
    with serving(
        database, tmp_path, "gunicorn", "--preload", "-w", "2", "--bind", f"unix:{door}", "preloaded:wsgi"
    ) as s:
        wait_for(lambda: listens(door), 20, "gunicorn to listen")
        answered = {get(door, f"job-{n}") for n in range(10)}
        ran = {written(tmp_path / f"job-{n}") for n in range(10)}
        assert s.pid not in answered
        assert ran == {s.pid}, "the worker of the first process, and no other"
    assert state(database) == [("succeeded", 1, 1)] * 10


def test_uvicorn_with_reload_gives_its_jobs_back_and_the_next_process_runs_them_at_once(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "door").mkdir()
    command = ("--reload", "--uds", str(tmp_path / "door" / "socket"), "shop:app")
    with serving(database, tmp_path, "uvicorn", *command):
        with Session(database.engine("jf_one")) as session, session.begin():
            Jobs(session).enqueue(waits, {"name": "waiting"})
        first = written(tmp_path / "waiting")
        (tmp_path / "waiting").unlink()
        (tmp_path / "shop.py").write_text(APPLICATION + "# saved in the editor\n")
        second = written(tmp_path / "waiting")  # long before a lease of 30 s ends
        assert second != first
        assert state(database) == [("running", 2, 1)]
    assert state(database) == [("queued", 2, 0)], "and the end gives it back as well"
