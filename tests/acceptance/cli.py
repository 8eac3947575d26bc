"""How the tests run the command line: as a process, or inside their own."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, Task
from jobforge_sa.ops.cli import main
from jobforge_sa.ops.replay import closed_network
from tests.fix_postgres import Database

ROOT = Path(__file__).resolve().parents[2]
APP = "tests.acceptance.cli_app:forge"
SILENT = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "DATABASE_URL", "JOBFORGE_DATABASE_URL"}

Finished = subprocess.CompletedProcess[str]


def environment(url: sa.URL | None, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in SILENT}
    given = {} if url is None else {"JOBFORGE_DATABASE_URL": url.render_as_string(hide_password=False)}
    return inherited | given | more


def jobforge(url: sa.URL | None, *arguments: str, status: int = 0, cwd: Path = ROOT, **variables: str) -> Finished:
    """Run a command to its end; the status must be the expected one."""
    done = subprocess.run(
        [sys.executable, "-m", "jobforge_sa", *arguments], cwd=cwd, env=environment(url, **variables),
        capture_output=True, text=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def inside(url: sa.URL | None, *arguments: str, status: int | None = 0, cwd: Path = ROOT, **variables: str) -> Finished:
    """The same in this process: a second faster. None: any status will do."""
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    root = logging.getLogger()
    log = (root.handlers[:], root.level)
    with (
        mock.patch.dict(os.environ, environment(url, **variables), clear=True),
        mock.patch.multiple(sys, argv=["jobforge", *arguments], path=sys.path[:]),
        mock.patch.object(closed_network._lock, "for_good", False),  # this process goes on
        contextlib.chdir(cwd), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr),
        pytest.raises(SystemExit) as left,
    ):  # fmt: skip
        main()
    root.handlers[:], root.level = log
    said = (stream.buffer.getvalue().decode() for stream in (stdout, stderr))
    done = Finished(list(arguments), int(left.value.code or 0), *said)
    assert status in (None, done.returncode), f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def refused(done: Finished, *words: str) -> None:
    """It has printed an error and its cure, and nothing else."""
    lines = done.stderr.splitlines()
    assert done.stdout == ""
    assert [line.split(":")[0] for line in lines] == ["error", "cure"]
    for word in words:
        assert word in done.stderr


def enqueue(database: Database, task: Task[Any, Any], payload: Any, tenant: str = "acme", **options: Any) -> uuid.UUID:
    with Session(database.engine("jf_one")) as session:
        job = Jobs(session, tenant=tenant).enqueue(task, payload, **options)
        session.commit()
    return job.id


def state(database: Database, job_id: uuid.UUID) -> str:
    with psycopg.connect(database.dsn("jf_admin")) as connection:  # not kept open: it is asked again and again
        found = connection.execute("select state from jobforge.all_jobs where id = %s", [job_id]).fetchone()
    return str(found[0]) if found else "none"


def leases(database: Database) -> int:
    with psycopg.connect(database.dsn()) as connection:
        return int((connection.execute("select count(*) from jobforge.leases").fetchone() or [0])[0])
