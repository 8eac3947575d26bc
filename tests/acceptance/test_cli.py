"""The command line, as its users meet it: processes, their output, their exit status."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, Task
from jobforge_sa.db import migrate
from jobforge_sa.ops import job_list
from jobforge_sa.testing.server import EmbeddedServer
from tests.acceptance import cli_app
from tests.fix_postgres import Database
from tests.support import wait_for

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
    with database.engine().connect() as connection:
        found = connection.scalar(sa.text("select state from jobforge.all_jobs where id = :id"), {"id": job_id})
    return str(found)


def leases(database: Database) -> int:
    with database.engine().connect() as connection:
        return int(connection.scalar(sa.text("select count(*) from jobforge.leases")) or 0)


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


# --- the door ----------------------------------------------------------------------------------------------


def test_the_help_tells_the_commands_and_every_exit_status() -> None:
    said = jobforge(None, "--help", COLUMNS="200").stdout

    for word in ("migrate", "worker", "jobs", "JOBFORGE_DATABASE_URL", "DATABASE_URL"):
        assert word in said
    for status in ("0 all is well", "1 worker --once", "2 an argument", "3 worker", "130 interrupted"):
        assert status in said


def test_the_installed_command_and_the_module_tell_the_version() -> None:
    script = Path(sys.executable).with_name("jobforge")
    by_script = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)

    assert jobforge(None, "--version").stdout == by_script.stdout
    assert re.fullmatch(r"jobforge_sa \d+\.\d+.*\n", by_script.stdout)


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_its_extra_the_command_says_how_to_get_it(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from jobforge_sa.ops.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr == f"error: {missing} not installed; run: pip install 'jobforge_sa[cli]'\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("jobs", "show", "no-uuid"),
        ("jobs", "list", "--state", "quued"),
        ("jobs", "list", "--limit", "0"),
        ("worker", APP, "--lease", "0"),
        ("worker",),
        ("what",),
    ],
)
def test_arguments_that_cannot_be_are_status_2(arguments: tuple[str, ...]) -> None:
    assert "Usage: jobforge" in jobforge(None, *arguments, status=2).stderr


# --- the database ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("jobs", "list"), ("migrate",), ("worker", APP)])
def test_without_a_database_each_command_lists_the_ways_to_name_one(command: tuple[str, ...]) -> None:
    refused(jobforge(None, *command, status=2), "--url", "JOBFORGE_DATABASE_URL", "DATABASE_URL")


def test_the_option_goes_before_our_variable_and_that_before_the_common_one(database: Database) -> None:
    right = database.url("jf_one").render_as_string(hide_password=False)
    wrong = "postgresql://nobody@127.0.0.1:1/nothing"

    assert jobforge(None, "jobs", "list", DATABASE_URL=right).stdout == "no jobs\n"
    assert jobforge(None, "jobs", "list", JOBFORGE_DATABASE_URL=right, DATABASE_URL=wrong).stdout == "no jobs\n"
    assert jobforge(None, "jobs", "list", "--url", right, JOBFORGE_DATABASE_URL=wrong).stdout == "no jobs\n"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///jobs.db", ("Postgres", "sqlite")),
        ("no url with s3cret", ("cannot be read",)),
        ("postgresql://u:s3cret@h:port/d", ("cannot be read",)),
        ("postgresql://u:s3cret@127.0.0.1:1/d", ("no connection to postgresql://u:***@127.0.0.1:1/d", "refused")),
        ("postgresql://u@127.0.0.1:1/d?password=s3cret", ("no connection", "password=***")),
    ],
)
@pytest.mark.parametrize("command", [("jobs", "list"), ("migrate",), ("worker", APP, "--log-level", "error")])
def test_a_url_that_leads_nowhere_is_an_error_without_the_password(
    command: tuple[str, ...], url: str, words: tuple[str, ...]
) -> None:
    done = jobforge(None, *command, "--url", url, status=2)

    refused(done, *words)
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", [("jobs", "list"), ("migrate",), ("worker", APP, "--log-level", "error")])
def test_an_unknown_database_is_an_error(database: Database, command: tuple[str, ...]) -> None:
    url = database.url("jf_one").set(database="there_is_none")
    refused(jobforge(url, *command, status=2), "there_is_none", "correct host, port, database, user and password")


def test_a_wrong_password_is_an_error() -> None:
    with EmbeddedServer(tcp=True) as server:
        url = sa.make_url(server.tcp_url_for()).set(password="s3cret")
        for command in (("jobs", "list"), ("migrate",), ("worker", APP, "--log-level", "error")):
            done = jobforge(url, *command, status=2)
            refused(done, "password authentication failed", "user and password in the URL")
            assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", [("jobs", "list"), ("worker", APP, "--log-level", "error")])
def test_a_database_that_is_not_migrated_is_told_the_command(bare_database: Database, command: tuple[str, ...]) -> None:
    refused(jobforge(bare_database.url(), *command, status=2), "jobforge migrate")


@pytest.mark.parametrize(
    ("user", "command", "cure"),
    [
        ("jf_stranger", ("jobs", "list"), 'grant jobforge_app to "jf_stranger"'),
        ("jf_worker", ("jobs", "list"), 'grant jobforge_app to "jf_worker"'),
        ("jf_app", ("worker", APP, "--log-level", "error"), 'grant jobforge_worker to "jf_app"'),
        ("jf_app", ("jobs", "list"), "--tenant"),
        ("jf_app", ("jobs", "show", str(uuid.UUID(int=0))), "--tenant"),
    ],
)
def test_a_login_without_the_right_is_told_what_it_needs(
    database: Database, user: str, command: tuple[str, ...], cure: str
) -> None:
    refused(jobforge(database.url(user), *command, status=2), cure)


# --- migrate -----------------------------------------------------------------------------------------------


def test_migrate_goes_up_and_down_and_says_from_where_to_where(bare_database: Database) -> None:
    url, head = bare_database.url(), migrate.head()

    assert f"schema jobforge base -> {head} (head)" in jobforge(url, "migrate").stdout
    assert f"at {head} (head) already" in jobforge(url, "migrate").stdout
    assert f"schema jobforge {head} -> 0001" in jobforge(url, "migrate", "--down", "0001").stdout
    assert "at 0001 already" in jobforge(url, "migrate", "--to", "0001").stdout
    assert f"schema jobforge 0001 -> {head} (head)" in jobforge(url, "migrate", "--to", head).stdout
    assert "migrate --down 0001" in jobforge(url, "migrate", "--to", "0001").stdout
    assert f"schema jobforge {head} -> base; its roles stay" in jobforge(url, "migrate", "--down", "base").stdout
    assert migrate.current(bare_database.engine()) is None


def test_migrate_sql_is_the_whole_upgrade_and_touches_nothing(bare_database: Database) -> None:
    script = jobforge(None, "migrate", "--sql").stdout

    assert script == migrate.render()
    assert migrate.current(bare_database.engine()) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "9999"), ("9999", "base", "head")),
        (("--down", "9999"), ("9999", "base", "head")),
        (("--sql", "--to", "9999"), ("9999",)),
        (("--sql", "--down", "base"), ("--down goes alone", "alembic downgrade")),
        (("--to", "0001", "--down", "base"), ("--down goes alone",)),
    ],
)
def test_migrate_refuses_what_it_cannot_do(
    database: Database, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(jobforge(database.url(), "migrate", *arguments, status=2), *words)
    assert migrate.current(database.engine()) == migrate.head()


def test_migrate_tells_a_migrator_without_rights_what_the_dba_runs(bare_database: Database) -> None:
    refused(jobforge(bare_database.url("jf_stranger"), "migrate", status=2), "jf_stranger", "grant")


def test_migrate_leaves_a_schema_that_is_newer_than_the_code_alone(database: Database) -> None:
    with database.engine().begin() as connection:
        connection.execute(sa.text("update jobforge.alembic_version set version_num = '9999'"))

    refused(jobforge(database.url(), "migrate", status=2), "9999", "pip install -U jobforge_sa")


# --- jobs --------------------------------------------------------------------------------------------------


def test_an_empty_list_says_so(database: Database) -> None:
    assert jobforge(database.url("jf_admin"), "jobs", "list").stdout == "no jobs\n"
    assert jobforge(database.url("jf_admin"), "jobs", "list", "--json").stdout == ""


def test_the_list_is_plain_text_in_a_pipe_newest_first_with_all_columns(database: Database) -> None:
    old = enqueue(database, cli_app.send, {"to": "a"})
    new = enqueue(database, cli_app.fail, {}, delay=dt.timedelta(hours=2))

    heading, *rows = jobforge(database.url("jf_admin"), "jobs", "list").stdout.splitlines()

    assert heading.split() == ["ID", "STATE", "TYPE", "TENANT", "QUEUE", "TRY", "AGE", "WAIT"]
    assert [row.split()[:6] for row in rows] == [
        [str(new), "scheduled", "fail", "acme", "default", "0/2"],
        [str(old), "queued", "send", "acme", "mail", "0/3"],
    ]
    assert rows[0].endswith("in 2h")
    assert all(row == row.rstrip() for row in rows)


@pytest.mark.parametrize("user", ["postgres", "jf_admin", "jf_one"])
def test_who_may_see_all_tenants_sees_them_and_one_if_asked(database: Database, user: str) -> None:
    ours = enqueue(database, cli_app.send, {}, tenant="ours")
    theirs = enqueue(database, cli_app.send, {}, tenant="theirs")

    assert listed(database, user) == [theirs, ours]
    assert listed(database, user, "--tenant", "ours") == [ours]
    refused(jobforge(database.url(user), "jobs", "show", str(theirs), "--tenant", "ours", status=2), str(theirs))


def listed(database: Database, user: str, *arguments: str) -> list[uuid.UUID]:
    lines = jobforge(database.url(user), "jobs", "list", "--json", *arguments).stdout.splitlines()
    return [uuid.UUID(json.loads(line)["id"]) for line in lines]


def test_the_list_is_filtered_by_state_type_queue_and_time(database: Database) -> None:
    later = enqueue(database, cli_app.send, {}, delay=dt.timedelta(hours=1))
    mail = enqueue(database, cli_app.send, {})
    fail = enqueue(database, cli_app.fail, {})
    other = enqueue(database, cli_app.fail, {}, queue="other")

    for arguments, expected in (
        (["--state", "scheduled"], [later]),
        (["--type", "send"], [mail, later]),
        (["--queue", "other"], [other]),
        (["--type", "fail", "--queue", "default"], [fail]),
        (["--since", "1h30m"], [other, fail, mail, later]),
        (["--since", "2100-01-01T00:00Z"], []),
        (["--limit", "1"], [other]),
        (["--cursor", str(mail)], [later]),
    ):
        assert listed(database, "jf_app", "--tenant", "acme", *arguments) == expected


@pytest.mark.parametrize("since", ["yesterday", "2026-01-31T12:00", "2026-01-31", "5", "-3h", "999999999w"])
def test_a_time_that_is_none_is_an_error_that_shows_one(database: Database, since: str) -> None:
    refused(jobforge(database.url("jf_admin"), "jobs", "list", f"--since={since}", status=2), since, "write")


def test_the_printed_command_gives_the_next_page(database: Database) -> None:
    made = [enqueue(database, cli_app.send, {}, tenant="two words") for _ in range(3)]
    first = jobforge(database.url("jf_app"), "jobs", "list", "--tenant", "two words", "--limit", "2").stdout

    command = shlex.split(first.splitlines()[-1].removeprefix("more: "))
    second = jobforge(database.url("jf_app"), *command[1:]).stdout

    assert [str(job) in first for job in made] == [False, True, True]
    assert [str(job) in second for job in made] == [True, False, False]
    assert "more:" not in second
    assert jobforge(database.url("jf_app"), *command[1:-1], str(made[0])).stdout == "no more jobs\n"


def test_a_terminal_of_80_columns_gets_whole_ids_and_no_broken_line(database: Database) -> None:
    name = "connector.report.generate_quarterly_statement"
    made = [enqueue(database, cli_app.forge.task(name)(cli_app.fail.handler), {}, tenant="a-rather-long-tenant")]
    made += [enqueue(database, cli_app.send, {})]
    terminal = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}

    narrow = jobforge(database.url("jf_admin"), "jobs", "list", COLUMNS="80", **terminal).stdout
    wide = jobforge(database.url("jf_admin"), "jobs", "list", COLUMNS="160", **terminal).stdout

    assert "\x1b[33mqueued" in narrow
    for text, columns in ((narrow, 80), (wide, 160)):
        lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
        assert len(lines) == 3
        assert max(map(len, lines)) <= columns
        assert all(str(job) in text for job in made)
    assert "TENANT" not in narrow
    assert name not in narrow
    assert name in wide or "connector.report.generate" in wide


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160, 300])
def test_columns_are_dropped_before_they_are_squeezed(width: int) -> None:
    natural = dict.fromkeys(job_list.HEADINGS, 7) | {"id": 36, "type": 100, "tenant": 200, "last error": 200}

    widths = job_list.fit(natural, width)

    assert widths["id"] == 36
    assert sum(widths.values()) + job_list.GAP * (len(widths) - 1) <= max(width, 36)
    assert all(size >= job_list.LEAST.get(name, 7) for name, size in widths.items())
    assert set(widths) == set(job_list.HEADINGS) or width < 160


def test_json_has_the_same_keys_for_every_job_and_times_in_iso(database: Database) -> None:
    job_id = enqueue(database, cli_app.send, {"to": "Jürgen"}, idempotency_key="k", timeout=dt.timedelta(minutes=2))
    enqueue(database, cli_app.fail, {})

    *_, line = jobforge(database.url("jf_admin"), "jobs", "list", "--json").stdout.splitlines()
    shown = json.loads(jobforge(database.url("jf_admin"), "jobs", "show", str(job_id), "--json").stdout)

    job = json.loads(line)
    assert list(job) == [
        "id", "tenant_id", "queue", "type", "priority", "payload", "run_at", "max_attempts", "timeout", "retry",
        "idempotency_key", "parent_id", "trace", "created_at", "state", "run", "attempt", "crashes", "due_at",
        "worker_id", "claimed_at", "deadline", "finished_at", "result",
    ]  # fmt: skip
    assert (job["id"], job["state"], job["timeout"], job["payload"]) == (str(job_id), "queued", 120, {"to": "Jürgen"})
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", job["created_at"])
    assert shown == job | {"attempts": []}


def test_a_job_is_shown_with_its_payload_result_and_attempts(database: Database) -> None:
    good = enqueue(database, cli_app.send, {"to": "a@example.com", "n": list(range(500))}, idempotency_key="k1")
    bad = enqueue(database, cli_app.fail, {"message": "it broke"}, max_attempts=1)
    jobforge(database.url("jf_one"), "worker", APP, "--once", status=1)

    said = jobforge(database.url("jf_admin"), "jobs", "show", str(good)).stdout
    for word in (f"{good}  succeeded", "acme", "mail", "1 of 3", "k1", '"to": "a@example.com"', '"sent_to"', "s ago"):
        assert word in said

    said = jobforge(database.url("jf_admin"), "jobs", "show", str(bad)).stdout
    for word in (f"{bad}  dead", "1 of 1", "failed", "ValueError: it broke"):
        assert word in said

    (attempt,) = json.loads(jobforge(database.url("jf_admin"), "jobs", "show", str(bad), "--json").stdout)["attempts"]
    assert list(attempt) == [
        "run", "attempt", "outcome", "worker_id", "claimed_at", "finished_at", "run_ms", "error",
    ]  # fmt: skip
    assert attempt["outcome"] == "failed"
    assert (attempt["error"]["type"], attempt["error"]["message"]) == ("ValueError", "it broke")

    listing = jobforge(database.url("jf_admin"), "jobs", "list").stdout
    assert listing.splitlines()[1].endswith("ValueError: it broke")


def test_a_long_payload_is_cut_and_says_so(database: Database) -> None:
    job_id = enqueue(database, cli_app.send, {f"key {n}": "x" * 80 for n in range(200)})

    said = jobforge(database.url("jf_admin"), "jobs", "show", str(job_id)).stdout

    assert '"key 1":' in said
    assert '"key 199":' not in said
    assert "162 lines more: --json shows them all" in said


def test_no_data_of_a_tenant_reaches_the_terminal_as_a_command(database: Database) -> None:
    job_id = enqueue(
        database, cli_app.fail, {"message": "\x1b[2J\x9b2J\nerror: forged \u202e[red]"}, tenant="\x1b]0;owned\x07"
    )
    log = jobforge(database.url("jf_one"), "worker", APP, "--once", status=1).stderr

    said = log
    for command in (["list"], ["show", str(job_id)], ["list", "--json"], ["show", str(job_id), "--json"]):
        said += jobforge(database.url("jf_admin"), "jobs", *command).stdout
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", said)
    assert "[red]" in said
    assert "\nerror: forged" not in log


def test_a_job_that_does_not_exist_is_status_2(database: Database) -> None:
    refused(jobforge(database.url("jf_admin"), "jobs", "show", str(uuid.UUID(int=1)), status=2), "no job")


# --- worker ------------------------------------------------------------------------------------------------


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

    done = jobforge(database.url("jf_one"), "worker", *arguments, status=2, cwd=tmp_path, PYTHONPATH=str(ROOT))

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
    assert "tasks: fail, give_up, linger, send; queues: mail x2; database: postgresql://jf_one" in log
    assert re.search(rf"Z INFO +jobforge_sa\.handler: sent to 0 job={done[0]} type=send tenant=acme attempt=1\n", log)
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


def test_sigterm_lets_the_handler_end_and_leaves_no_lease(database: Database, workers: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job_id = enqueue(database, cli_app.linger, {"until": str(gate)})
    worker = workers("--queue", "default=1")
    wait_for(lambda: state(database, job_id) == "running", what="the job to run")
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


def test_a_handler_that_outlives_the_grace_is_status_3_and_its_job_is_queued_again(
    database: Database, workers: Any, tmp_path: Path
) -> None:
    job_id = enqueue(database, cli_app.linger, {"until": str(tmp_path / "never")})
    worker = workers("--grace", "0")
    wait_for(lambda: state(database, job_id) == "running", what="the job to run")

    worker.kill(signal.SIGTERM)

    assert worker.ended() == 3
    assert state(database, job_id) == "queued"
    assert leases(database) == 0


def test_what_a_killed_worker_held_is_done_by_another(database: Database, workers: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job_id = enqueue(database, cli_app.linger, {"until": str(gate)})
    first = workers("--lease", "1")
    wait_for(lambda: state(database, job_id) == "running", what="the job to run")

    first.kill(signal.SIGKILL)
    assert first.ended() == -signal.SIGKILL
    assert state(database, job_id) == "running"
    gate.touch()
    second = workers("--lease", "1")

    wait_for(lambda: state(database, job_id) == "succeeded", 30, "another worker to finish the job")
    second.kill(signal.SIGTERM)
    assert second.ended() == 0
    job = json.loads(jobforge(database.url("jf_admin"), "jobs", "show", str(job_id), "--json").stdout)
    assert [attempt["outcome"] for attempt in job["attempts"]] == ["lost", "succeeded"]
    assert (job["attempt"], job["crashes"], job["result"]) == (1, 1, "done in run 2")
