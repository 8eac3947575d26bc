"""The command line, as its users meet it: its help, its database, its refusals; and `jobforge migrate`."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobforge_sa.db import migrate
from jobforge_sa.testing.server import EmbeddedServer, installations
from tests.acceptance.cli import APP, inside, jobforge, refused
from tests.fix_postgres import Database

# --- the door ----------------------------------------------------------------------------------------------


def test_the_help_tells_the_commands_and_every_exit_status() -> None:
    said = inside(None, "--help", COLUMNS="200").stdout

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
    assert "Usage: jobforge" in inside(None, *arguments, status=2).stderr


# --- the database ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("jobs", "list"), ("migrate",), ("worker", APP)])
def test_without_a_database_each_command_lists_the_ways_to_name_one(command: tuple[str, ...]) -> None:
    refused(inside(None, *command, status=2), "--url", "JOBFORGE_DATABASE_URL", "DATABASE_URL")


def test_the_option_goes_before_our_variable_and_that_before_the_common_one(database: Database) -> None:
    right = database.url("jf_one").render_as_string(hide_password=False)
    wrong = "postgresql://nobody@127.0.0.1:1/nothing"

    assert inside(None, "jobs", "list", DATABASE_URL=right).stdout == "no jobs\n"
    assert inside(None, "jobs", "list", JOBFORGE_DATABASE_URL=right, DATABASE_URL=wrong).stdout == "no jobs\n"
    assert inside(None, "jobs", "list", "--url", right, JOBFORGE_DATABASE_URL=wrong).stdout == "no jobs\n"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:///jobs.db", ("Postgres", "sqlite")),
        ("no url with s3cret", ("cannot be read",)),
        ("postgresql://u:s3cret@h:port/d", ("cannot be read",)),
        ("postgresql://u:s3cret@127.0.0.1:1/d", ("no connection to postgresql://u:***@127.0.0.1:1/d", "refused")),
        ("postgresql://u@127.0.0.1:1/d?password=s3cret", ("no connection to postgresql://u@127.0.0.1:1/d: ",)),
    ],
)
@pytest.mark.parametrize("command", [("jobs", "list"), ("migrate",), ("worker", APP, "--log-level", "error")])
def test_a_url_that_leads_nowhere_is_an_error_without_the_password(
    command: tuple[str, ...], url: str, words: tuple[str, ...]
) -> None:
    done = inside(None, *command, "--url", url, status=2)

    refused(done, *words)
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", [("jobs", "list"), ("migrate",), ("worker", APP, "--log-level", "error")])
def test_an_unknown_database_is_an_error(database: Database, command: tuple[str, ...]) -> None:
    url = database.url("jf_one").set(database="there_is_none")
    refused(inside(url, *command, status=2), "there_is_none", "correct host, port, database, user and password")


@pytest.mark.skipif(not installations(), reason="a server with a password is started from binaries")
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
        ("jf_worker", ("jobs", "list"), 'connect as a login of the application; "jf_worker" is one of jobforge_worker'),
        ("jf_app", ("worker", APP, "--log-level", "error"), "connect as a login of jobforge_worker"),
        ("jf_app", ("jobs", "list"), "--tenant"),
        ("jf_app", ("jobs", "show", str(uuid.UUID(int=0))), "--tenant"),
    ],
)
def test_a_login_without_the_right_is_told_what_it_needs(
    database: Database, user: str, command: tuple[str, ...], cure: str
) -> None:
    refused(inside(database.url(user), *command, status=2), cure)


# --- migrate -----------------------------------------------------------------------------------------------


def test_migrate_goes_up_and_down_and_says_from_where_to_where(bare_database: Database) -> None:
    url, head = bare_database.url(), migrate.head()

    assert f"schema jobforge base -> {head} (head)" in jobforge(url, "migrate").stdout
    assert f"at {head} (head) already" in jobforge(url, "migrate").stdout
    assert f"schema jobforge {head} -> 0001" in inside(url, "migrate", "--down", "0001").stdout
    assert "at 0001 already" in inside(url, "migrate", "--to", "0001").stdout
    assert f"schema jobforge 0001 -> {head} (head)" in inside(url, "migrate", "--to", head).stdout
    assert "migrate --down 0001" in inside(url, "migrate", "--to", "0001").stdout
    assert f"schema jobforge {head} -> base; its roles stay" in inside(url, "migrate", "--down", "base").stdout
    assert migrate.current(bare_database.engine()) is None


def test_migrate_sql_is_the_whole_upgrade_and_touches_nothing(bare_database: Database) -> None:
    script = inside(None, "migrate", "--sql").stdout

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
    refused(inside(database.url(), "migrate", *arguments, status=2), *words)
    assert migrate.current(database.engine()) == migrate.head()


def test_migrate_tells_a_migrator_without_rights_what_the_dba_runs(bare_database: Database) -> None:
    refused(inside(bare_database.url("jf_stranger"), "migrate", status=2), "jf_stranger", "grant")


def test_migrate_leaves_a_schema_that_is_newer_than_the_code_alone(database: Database) -> None:
    with database.engine().begin() as connection:
        connection.execute(sa.text("update jobforge.alembic_version set version_num = '9999'"))

    refused(inside(database.url(), "migrate", status=2), "9999", "pip install -U jobforge_sa")
