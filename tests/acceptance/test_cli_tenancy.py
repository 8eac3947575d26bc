"""`jobforge tenancy …`: keys made, shown once and retired; signed and plain; by whom."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from jobforge_sa import Jobs, TenantKey
from jobforge_sa.errors import TenantRequired, TokenRejected
from tests.acceptance import cli_app
from tests.acceptance.cli import APP, inside, refused, state
from tests.fix_postgres import Database

COMMANDS = [("add-key", "k"), ("retire-key", "k"), ("signed",), ("plain", "--yes")]


def dba(database: Database, *statements: str) -> None:
    with database.engine(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("%", "%%"))


@pytest.fixture
def migrator(database: Database) -> Iterator[sa.URL]:
    """A login that may act as the owner, as one that migrates may, and nothing else."""
    with database.engine().connect() as c:
        new = c.scalar(sa.text("select current_setting('server_version_num')::int >= 160000"))
    dba(database, "create role jf_migrator login", f"grant jobforge_owner to jf_migrator{' with inherit false' * new}")
    if (password := database.url().password) is not None:
        dba(database, f"alter role jf_migrator password '{password}'")
    yield database.url("jf_migrator")
    database.dispose()
    dba(database, "drop role jf_migrator")


def added(url: sa.URL, *arguments: str) -> TenantKey:
    """A new key, as an application gets it."""
    done = inside(url, "tenancy", "add-key", *arguments)
    assert re.fullmatch(r"JOBFORGE_TENANT_KEY=\S+\n", done.stdout)
    key = TenantKey.parse(done.stdout.strip().removeprefix("JOBFORGE_TENANT_KEY="))
    assert done.stdout.strip().rpartition(":")[2] not in done.stderr
    return key


def enqueue(database: Database, key: TenantKey | None) -> str:
    with Session(database.engine("jf_app", poolclass=sa.NullPool)) as session, session.begin():
        job = Jobs(session, tenant="acme" if key is None else key.tenant("acme")).enqueue(cli_app.send, {"to": "a"})
    return str(job.id)


def shown(url: sa.URL) -> tuple[str, list[tuple[str, bool, bool]]]:
    said = json.loads(inside(url, "tenancy", "--json").stdout)
    return said["tenancy"], [(key["key_id"], key["accepted"], key["signs"]) for key in said["keys"]]


def test_a_rotation_from_end_to_end(database: Database, migrator: sa.URL) -> None:
    """Only what the commands print is used; the application signs with what it was given."""
    first = added(migrator, "first")
    with pytest.warns(UserWarning, match="jobforge tenancy signed"):
        assert enqueue(database, first)  # the application is switched before its database
    assert enqueue(database, None)

    assert "tenancy is signed" in inside(migrator, "tenancy", "signed").stdout
    assert shown(migrator) == ("signed", [("first", True, True)])
    with pytest.raises(TenantRequired) as caught:
        enqueue(database, None)
    assert "TenantKey.from_environment()" in caught.value.cure
    jobs = [enqueue(database, first)]

    second = added(migrator, "second")
    assert shown(migrator) == ("signed", [("second", True, True), ("first", True, False)])
    jobs += [enqueue(database, first), enqueue(database, second)]
    assert re.search(
        r"refused from .* on \(in 2h\)", inside(migrator, "tenancy", "retire-key", "first", "--at", "2h").stdout
    )
    jobs += [enqueue(database, first)]
    inside(migrator, "tenancy", "retire-key", "first")
    assert shown(migrator) == ("signed", [("second", True, True), ("first", False, False)])
    with pytest.raises(TokenRejected) as rejected:
        enqueue(database, first)
    assert "jobforge tenancy" in rejected.value.cure
    jobs += [enqueue(database, second)]

    inside(database.url("jf_worker"), "worker", APP, "--once", JOBFORGE_TENANT_KEY="")
    assert {state(database, uuid.UUID(job)) for job in jobs} == {"succeeded"}


def test_the_keys_are_shown_without_their_secrets(database: Database, migrator: sa.URL) -> None:
    assert "no keys; to make one: jobforge tenancy add-key" in inside(migrator, "tenancy").stdout
    old, new = added(migrator, "old"), added(migrator, "new")
    inside(migrator, "tenancy", "retire-key", "old", "--at", "2100-01-01T00:00Z")

    said = inside(migrator, "tenancy", COLUMNS="80", FORCE_COLOR="1", TERM="xterm-256color").stdout
    raw = inside(migrator, "tenancy", "--json").stdout

    lines = re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[-2:]] == ["new", "old"]
    assert lines[-2].rstrip().endswith("accepted, signs")
    assert lines[-1].rstrip().endswith("accepted until 2100-01-01 00:00:00 UTC")
    assert "tenancy is plain" in lines[0]
    for key in (old, new):
        assert key.text() not in said + raw
        assert key.secret.hex() not in said + raw


def test_a_key_without_an_id_is_named_after_the_day(database: Database, migrator: sa.URL) -> None:
    with database.engine().connect() as c:
        day: dt.datetime = c.scalar(sa.text("select now() at time zone 'utc'"))
    assert added(migrator).id in (f"{day:%Y-%m-%d}", f"{day + dt.timedelta(days=1):%Y-%m-%d}")
    refused(inside(migrator, "tenancy", "add-key", f"{day:%Y-%m-%d}", status=2), "another id")


@pytest.mark.parametrize("user", ["jf_app", "jf_admin", "jf_one", "jf_stranger"])
@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_nobody_but_the_owner_touches_keys_or_tenancy(database: Database, user: str, command: tuple[str, ...]) -> None:
    inside(database.url(), "tenancy", "add-key", "k")
    inside(database.url(), "tenancy", "signed")

    refused(inside(database.url(user), "tenancy", *command, status=2), "use the login that migrates")

    assert shown(database.url()) == ("signed", [("k", True, True)])


def test_who_is_no_owner_sees_the_tenancy_alone(database: Database) -> None:
    for user in ("jf_app", "jf_worker", "jf_admin"):
        done = inside(database.url(user), "tenancy")
        assert "tenancy is plain" in done.stdout
        assert "keys are shown to the login that migrates only" in done.stderr
        assert json.loads(inside(database.url(user), "tenancy", "--json").stdout) == {"tenancy": "plain", "keys": None}
    refused(inside(database.url("jf_stranger"), "tenancy", status=2), 'grant jobforge_app to "jf_stranger"')


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=str)
def test_a_database_that_is_not_migrated_is_told_the_command(bare_database: Database, command: tuple[str, ...]) -> None:
    for user in ("postgres", "jf_stranger"):
        refused(inside(bare_database.url(user), "tenancy", *command, status=2), "jobforge migrate")


def test_what_would_shut_everybody_out_is_refused(migrator: sa.URL) -> None:
    refused(inside(migrator, "tenancy", "signed", status=2), "needs a key", "jobforge tenancy add-key")
    added(migrator, "only")
    inside(migrator, "tenancy", "signed")
    for at in ([], ["--at", "2h"]):
        refused(
            inside(migrator, "tenancy", "retire-key", "only", *at, status=2), "the last key", "Add the next key first"
        )
    assert shown(migrator) == ("signed", [("only", True, True)])


def test_plain_asks_because_it_opens(migrator: sa.URL) -> None:
    assert "tenancy is plain" in inside(migrator, "tenancy", "plain").stdout  # it is, so nothing opens
    added(migrator, "k")
    inside(migrator, "tenancy", "signed")
    refused(inside(migrator, "tenancy", "plain", status=2), "no terminal", "--yes")
    assert shown(migrator)[0] == "signed"
    assert "tenancy is plain" in inside(migrator, "tenancy", "plain", "--yes").stdout
    assert shown(migrator)[0] == "plain"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add-key", "two words"), ("no id of a key",)),
        (("add-key", "x" * 41), ("no id of a key",)),
        (("add-key", "a.b"), ("no id of a key",)),
        (("retire-key", "\x1b]0;owned\x07"), ("there is no key",)),
        (("retire-key", "k", "--at", "tomorrow"), ("neither a duration nor a time",)),
        (("retire-key", "k", "--at", "2026-11-24T12:00"), ("has no zone",)),
    ],
)
def test_what_cannot_be_is_an_error(database: Database, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    done = inside(database.url(), "tenancy", *arguments, status=2)
    refused(done, *words)
    assert "\x1b" not in done.stderr


def test_the_url_may_stand_before_the_command_too(database: Database) -> None:
    given = database.url().render_as_string(hide_password=False)
    wrong = "postgresql://nobody@127.0.0.1:1/nothing"
    assert inside(None, "tenancy", "--url", given, "add-key", "k", DATABASE_URL=wrong).stdout.startswith("JOBFORGE_")
    assert "k" in inside(None, "tenancy", "--url", given, DATABASE_URL=wrong).stdout


def test_the_doctor_notes_a_signing_key_that_is_old(database: Database, migrator: sa.URL) -> None:
    def noted(url: sa.URL) -> list[str]:
        found = [json.loads(line) for line in inside(url, "doctor", "--json").stdout.splitlines()]
        return [one["object"] for one in found if one["name"] == "old_tenant_key" and one["level"] == "note"]

    added(migrator, "k")
    assert noted(migrator) == []
    dba(database, "update jobforge.tenant_keys set created_at = created_at - interval '400 days'")
    assert (noted(migrator), noted(database.url())) == (["key k"], ["key k"])
    assert noted(database.url("jf_admin")) == []  # it may not look
    added(migrator, "next")
    assert noted(migrator) == []


def test_a_second_key_of_a_day_has_a_name_of_its_own(database: Database) -> None:
    url = database.url()
    first, second = (inside(url, "tenancy", "add-key").stdout.split("=")[1].partition(":")[0] for _ in range(2))
    assert second == f"{first}-2"


def test_who_names_a_tenant_without_a_key_where_they_are_signed_is_told(database: Database) -> None:
    """Nothing is seen, and that is not the same as nothing is there."""
    inside(database.url(), "tenancy", "add-key")
    inside(database.url(), "tenancy", "signed")
    done = inside(database.url("jf_app"), "jobs", "list", "--tenant", "acme", status=2)
    assert "JOBFORGE_TENANT_KEY is not set" in done.stderr


@pytest.mark.parametrize("text", ["s3cret-without-an-id", "s3cret/+=:x", ":s3cret"])
def test_an_unreadable_key_is_not_shown(text: str, database: Database) -> None:
    done = inside(database.url("jf_app"), "jobs", "list", "--tenant", "acme", status=2, JOBFORGE_TENANT_KEY=text)
    assert "s3cret" not in done.stderr
    assert "add-key" in done.stderr
