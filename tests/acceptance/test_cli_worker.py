"""`jobforge worker`: a process that starts, works, stops and dies as it should."""

from __future__ import annotations

import datetime as dt
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobforge_sa import Task
from tests.acceptance import cli_app
from tests.acceptance.cli import APP, ROOT, enqueue, environment, inside, jobforge, leases, refused, state
from tests.fix_postgres import Database
from tests.support import wait_for


class Process:
    """A worker in a process of its own; what it logs goes to a file, so that no pipe can fill."""

    def __init__(self, database: Database, log: Path, *arguments: str) -> None:
        self.log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "jobforge_sa", "worker", APP, *arguments],
                cwd=ROOT, env=environment(database.url("jf_one")), stderr=stderr,
            )  # fmt: skip

    def kill(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def ended(self) -> int:
        return self._process.wait(timeout=30)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def workers(database: Database, tmp_path: Path) -> Iterator[Any]:
    started: list[Process] = []

    def start(*arguments: str) -> Process:
        started.append(Process(database, tmp_path / f"worker-{len(started)}.log", *arguments))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("tests.acceptance.cli_app",), ("MODULE:FORGE",)),
        ((":forge",), ("MODULE:FORGE",)),
        (("no_such_module:forge",), ("no module 'no_such_module'", "folder")),
        (("tests.no_such_module:forge",), ("no module 'tests.no_such_module'",)),
        (("broken:forge",), ("importing broken fails", "no_such_dependency", 'python -c "import broken"')),
        (("leaves:forge",), ("importing leaves fails", "SystemExit")),
        (("tests.acceptance.cli_app:frge",), ("'frge'", APP)),
        (("tests.acceptance.cli_app:no_forge",), ("is a str, not a JobForge", APP)),
        (("tests.acceptance.cli_app:empty",), ("has no tasks", "import")),
        ((APP, "--queue", "mail=many"), ("--queue mail=many", "--queue mail=5")),
        ((APP, "--queue", "mail=0"), ("--queue mail=0",)),
        ((APP, "--queue", "mail", "--queue", "mail=2"), ("named twice",)),
    ],
)
def test_a_worker_that_cannot_be_configured_is_status_2(
    database: Database, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    (tmp_path / "broken.py").write_text("import no_such_dependency\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(7)\n")

    done = inside(database.url("jf_one"), "worker", *arguments, status=2, cwd=tmp_path, PYTHONPATH=str(ROOT))

    refused(done, *words)


def test_the_installed_command_finds_the_application_in_the_current_folder(database: Database, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("from jobforge_sa import JobForge\nclass tasks:\n    forge = JobForge()\n")
    script = Path(sys.executable).with_name("jobforge")

    done = subprocess.run(
        [script, "worker", "shop:tasks.forge"], cwd=tmp_path, env=environment(database.url("jf_one")),
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    refused(done, "shop:tasks.forge has no tasks")


def test_once_works_off_what_is_there_and_is_status_0(database: Database) -> None:
    done = [enqueue(database, cli_app.send, {"to": n}) for n in range(20)]
    later = enqueue(database, cli_app.send, {}, delay=dt.timedelta(hours=1))

    log = jobforge(database.url("jf_one"), "worker", APP, "--once", "--queue", "mail=2").stderr

    assert {state(database, job) for job in done} == {"succeeded"}
    assert state(database, later) == "scheduled"
    assert "tasks: fail, give_up, linger, send, who; queues: mail x2; database: postgresql://jf_one" in log
    assert re.search(
        rf"Z INFO +jobforge_sa\.handler: sent to 0 job={done[0]} type=send tenant=acme attempt=1 run=1\n", log
    )
    assert "20 succeeded" in log


def test_once_with_nothing_to_do_is_status_0(database: Database) -> None:
    said = jobforge(database.url("jf_one"), "worker", APP, "--once", "--no-listen").stderr
    assert "there was nothing to do" in said


@pytest.mark.parametrize("task", [cli_app.fail, cli_app.give_up])
def test_once_with_a_failing_handler_is_status_1(database: Database, task: Task[Any, Any]) -> None:
    job_id = enqueue(database, task, {}, max_attempts=1)
    good = enqueue(database, cli_app.send, {})

    jobforge(database.url("jf_one"), "worker", APP, "--once", status=1)

    assert (state(database, job_id), state(database, good)) == ("dead", "succeeded")


def test_once_leaves_other_queues_alone(database: Database) -> None:
    other = enqueue(database, cli_app.fail, {})
    jobforge(database.url("jf_one"), "worker", APP, "--once", "--queue", "mail")
    assert state(database, other) == "queued"


def test_the_log_is_as_quiet_as_asked(database: Database) -> None:
    enqueue(database, cli_app.send, {})
    assert jobforge(database.url("jf_one"), "worker", APP, "--once", "--log-level", "warning").stderr == ""


def test_fault_037_sigterm_lets_the_handler_end_and_leaves_no_lease(
    database: Database, workers: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_id = enqueue(database, cli_app.linger, {"until": str(gate)})
    worker = workers("--queue", "default=1")
    wait_for(lambda: state(database, job_id) == "running", 30, "the job to run")
    waiting = enqueue(database, cli_app.linger, {"until": str(gate)})

    worker.kill(signal.SIGTERM)
    gate.touch()

    assert worker.ended() == 0
    assert state(database, job_id) == "succeeded"
    assert state(database, waiting) in ("queued", "succeeded")  # claimed in the last moment, it may have run
    assert leases(database) == 0


def test_sigterm_ends_an_idle_worker_with_status_0(database: Database, workers: Any) -> None:
    worker = workers()
    wait_for(lambda: "started" in worker.log.read_text(), what="the worker to start")
    worker.kill(signal.SIGTERM)
    assert worker.ended() == 0


def test_fault_037_a_handler_that_outlives_the_grace_is_status_3_and_its_job_is_queued_again(
    database: Database, workers: Any, tmp_path: Path
) -> None:
    job_id = enqueue(database, cli_app.linger, {"until": str(tmp_path / "never")})
    worker = workers("--grace", "0")
    wait_for(lambda: state(database, job_id) == "running", 30, "the job to run")

    worker.kill(signal.SIGTERM)

    assert worker.ended() == 3
    assert state(database, job_id) == "queued"
    assert leases(database) == 0


def test_fault_001_what_a_killed_worker_held_is_done_by_another(
    database: Database, workers: Any, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job_id = enqueue(database, cli_app.linger, {"until": str(gate)})
    first = workers("--lease", "1")
    wait_for(lambda: state(database, job_id) == "running", 30, "the job to run")

    first.kill(signal.SIGKILL)
    assert first.ended() == -signal.SIGKILL
    assert state(database, job_id) == "running"
    gate.touch()
    second = workers("--lease", "1")

    wait_for(lambda: state(database, job_id) == "succeeded", 30, "another worker to finish the job")
    second.kill(signal.SIGTERM)
    assert second.ended() == 0
    job = json.loads(inside(database.url("jf_admin"), "jobs", "show", str(job_id), "--json").stdout)
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["lost", "succeeded"]
    assert (job["attempt"], job["crashes"], job["result"]) == (1, 1, "done in run 2")


def test_handlers_sessions_may_be_of_another_login_than_the_workers(database: Database) -> None:
    job = enqueue(database, cli_app.who, {})
    session = database.url("jf_app").render_as_string(hide_password=False)
    jobforge(database.url("jf_worker"), "worker", APP, "--once", "--session-url", session)

    said = jobforge(database.url("jf_admin"), "jobs", "show", str(job), "--json").stdout
    assert json.loads(said)["result"] == "jf_app for acme"
