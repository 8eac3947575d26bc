"""`jobforge tenants …`: who may, how it looks, what is left behind when it is stopped in the middle."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pty
import re
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

from jobforge_sa import Jobs, Tenants
from jobforge_sa.connectors import ConnectorSettings, TenantSecrets, Webhooks
from jobforge_sa.ops.tenants import purge as tenant_purge
from tests.acceptance import cli_app
from tests.acceptance.cli import ROOT, enqueue, environment, inside, refused
from tests.fix_postgres import Database
from tests.support import wait_for

HOSTILE = [
    "it's",
    "a\nerror: forged",
    '"; drop table jobforge.jobs; --',
    "\x1b]0;owned\x07\x9b2J",
    "\u202eeman",
    "x" * 200,
    "-v",
]
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")


def fill(database: Database, tenant: str, count: int, **options: Any) -> list[uuid.UUID]:
    with Session(database.engine("jf_one")) as session, session.begin():
        made = Jobs(session, tenant=tenant).enqueue_many([cli_app.send.new({"n": n}, **options) for n in range(count)])
    return [one.id for one in made]


def kept(database: Database, tenant: str) -> int:
    with database.engine("jf_admin").connect() as c:
        return sum(Tenants(c).count(tenant).rows.values())


def claim(database: Database) -> None:
    with database.engine("jf_worker").begin() as c:
        c.execute(sa.text("select from jobforge.claim_jobs(gen_random_uuid(), '{mail}', '{send}', 1)"))


@contextlib.contextmanager
def running(url: sa.URL, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    given: dict[str, Any] = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "stdin": subprocess.DEVNULL,
    } | options
    process = subprocess.Popen(
        [sys.executable, "-m", "jobforge_sa", *arguments], cwd=ROOT, env=environment(url), **given
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


# --- who may, and whom it is about -------------------------------------------------------------------------

COMMANDS = [
    ("list",), ("pause", "acme"), ("resume", "acme"), ("limit", "acme", "--max-waiting", "5"), ("count", "acme"),
    ("export", "acme"), ("purge", "acme", "--yes"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_login_that_is_no_administrator_is_told_the_grant(database: Database, command: tuple[str, ...]) -> None:
    enqueue(database, cli_app.send, {})
    before = kept(database, "acme")

    for user in ("jf_app", "jf_worker", "jf_stranger"):
        done = inside(database.url(user), "tenants", *command, status=2)
        refused(done, "connect as a login of jobforge_admin that the application does not use")

    assert kept(database, "acme") == before


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_database_that_is_not_migrated_is_told_the_command(bare_database: Database, command: tuple[str, ...]) -> None:
    refused(inside(bare_database.url(), "tenants", *command, status=2), "jobforge migrate")


def test_an_unknown_tenant_is_said_and_cannot_be_exported_or_purged(database: Database, tmp_path: Path) -> None:
    url = database.url("jf_admin")
    assert inside(url, "tenants", "list").stdout == "nobody waits, runs, is paused or limited\n"
    assert inside(url, "tenants", "list", "--json").stdout == ""
    assert inside(url, "tenants", "count", "nobody").stdout == "nothing is kept of the tenant nobody\n"
    for command in (
        ["export", "nobody", "--out", str(tmp_path / "x")],
        ["purge", "nobody"],
        ["purge", "nobody", "--dry-run"],
    ):
        refused(inside(url, "tenants", *command, status=2), "nothing is kept of the tenant nobody")
    assert list(tmp_path.iterdir()) == []
    assert "nothing is kept of nobody" in inside(url, "tenants", "pause", "nobody").stderr
    assert inside(url, "tenants", "pause", "nobody").stderr == ""  # now its pause is
    for command in (
        ["pause", ""],
        ["count", "x" * 201],
        ["limit", "a", "--max-waiting", "many"],
        ["limit", "a", "--max-waiting", "10000001"],
        ["limit", "a", "--max-waiting", "-1"],
        ["limit", "a", "--rate", "2/w"],
        ["limit", "a"],
    ):
        assert inside(url, "tenants", *command, status=2).stdout == ""


# --- list, pause, limit, count -----------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["jf_admin", "jf_one", "postgres"])
def test_the_list_tells_who_waits_is_paused_and_has_used_its_quota(database: Database, user: str) -> None:
    url = database.url(user)
    fill(database, "acme", 3)
    fill(database, "acme", 2, delay=dt.timedelta(hours=1))
    fill(database, "globex", 1)
    claim(database)

    assert inside(url, "tenants", "list").stdout.splitlines()[0].split() == ["TENANT", "QUEUED", "SCHEDULED", "RUNNING"]
    assert "paused" in inside(url, "tenants", "pause", "acme").stdout
    assert "at most 5 jobs may wait" in inside(url, "tenants", "limit", "acme", "--max-waiting", "5").stdout
    heading, acme, globex = inside(url, "tenants", "list").stdout.splitlines()

    assert heading.split() == ["TENANT", "QUEUED", "SCHEDULED", "RUNNING", "QUOTA", "PAUSED"]
    waiting = 5 - (acme.split()[3] == "1")
    assert f"{waiting * 20}% of 5" in acme
    assert re.search(r"(now|s ago)$", acme)
    assert globex.split()[0] == "globex"
    lines = [json.loads(line) for line in inside(url, "tenants", "list", "--json").stdout.splitlines()]
    assert list(lines[0]) == [
        "tenant_id",
        "queued",
        "scheduled",
        "running",
        "paused_at",
        "max_running",
        "rate",
        "burst",
        "weight",
        "max_waiting",
    ]
    assert (lines[0]["scheduled"], lines[0]["max_waiting"], lines[1]["paused_at"]) == (2, 5, None)

    assert "acme: resumed; its jobs are claimed" in inside(url, "tenants", "resume", "acme").stdout
    assert "acme: was not paused" in inside(url, "tenants", "resume", "acme").stdout
    assert "acme: no limits" in inside(url, "tenants", "limit", "acme", "--max-waiting", "none").stdout
    with database.engine().connect() as c:
        assert c.scalar(sa.text("select count(*) from jobforge.limits")) == 0


def test_count_tells_what_is_kept_in_words_and_as_json(database: Database) -> None:
    fill(database, "acme", 3)
    said = inside(database.url("jf_admin"), "tenants", "count", "acme").stdout.splitlines()
    assert said[0] == "acme"
    assert [line.split() for line in said[2:5]] == [["jobs", "3"], ["queued", "3"], ["scheduled", "0"]]
    (line,) = inside(database.url("jf_admin"), "tenants", "count", "acme", "--json").stdout.splitlines()
    assert json.loads(line)["counts"] == {
        "artifacts": 0, "attempts": 0, "cancel_requests": 0, "connector_secrets": 0, "connectors": 0,
        "idempotency_keys": 0, "jobs": 3, "leases": 0, "limits": 0, "lines": 0, "outcomes": 0, "ready": 3, "results": 0,
        "scheduled": 0, "turns": 0, "unique_keys": 0, "waits": 0, "webhook_deliveries": 0, "webhook_endpoints": 0,
    }  # fmt: skip


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_a_row_in_a_line_and_says_where_a_name_is_cut(database: Database, columns: int) -> None:
    names = [str(uuid.UUID(int=7)), "Jürgen & Söhne", "x" * 200]
    for name in names:
        fill(database, name, 1)
    inside(database.url("jf_admin"), "tenants", "limit", names[0], "--max-waiting", "1")
    inside(database.url("jf_admin"), "tenants", "pause", names[0])

    said = inside(
        database.url("jf_admin"), "tenants", "list", COLUMNS=str(columns), FORCE_COLOR="1", TERM="xterm-256color"
    ).stdout

    lines = re.sub(r"\x1b\[[\d;]*m", "", said).splitlines()
    assert max(map(len, lines)) <= columns
    shown = [line.split("  ")[0] for line in lines[1:4]]
    assert shown[:2] == names[:2]
    assert re.fullmatch("x{20,}…", shown[2])
    assert "x" * 200 in inside(database.url("jf_admin"), "tenants", "list").stdout  # a pipe has all of it
    assert lines[-1] == "3 tenants, 1 paused, 1 at the quota"


@pytest.mark.parametrize("tenant", HOSTILE)
def test_a_hostile_name_is_one_tenant_to_every_command(database: Database, tmp_path: Path, tenant: str) -> None:
    fill(database, tenant, 2)
    fill(database, "other", 1)
    url, said, out = database.url("jf_admin"), "", tmp_path / "x"
    for command in (
        ["list"], ["list", "--json"], ["pause", "--", tenant], ["limit", "--weight", "9", "--", tenant],
        ["count", "--", tenant], ["count", "--json", "--", tenant], ["export", "--", tenant],
        ["export", "--out", str(out), "--", tenant],
        ["purge", "--dry-run", "--", tenant], ["resume", "--", tenant], ["purge", "--yes", "--", tenant],
    ):  # fmt: skip
        done = inside(url, "tenants", *command)
        said += done.stdout + done.stderr
    refusal = inside(url, "tenants", "purge", "--yes", "--", tenant, status=2)
    refused(refusal, "nothing is kept")

    assert not OBEYED.search(said + refusal.stderr)
    assert "\nerror: forged" not in said
    assert (kept(database, tenant), kept(database, "other")) == (0, 2)


# --- export ------------------------------------------------------------------------------------------------


def test_an_export_has_the_tenant_first_then_all_its_jobs_oldest_first(database: Database, tmp_path: Path) -> None:
    made = fill(database, "acme", 5, idempotency_key=None)
    fill(database, "other", 2)
    inside(database.url("jf_admin"), "tenants", "limit", "acme", "--max-waiting", "7", "--rate", "90/m")
    out = tmp_path / "acme.jsonl"

    piped = inside(database.url("jf_admin"), "tenants", "export", "acme")
    filed = inside(database.url("jf_one"), "tenants", "export", "acme", "--out", str(out))

    head, *jobs = [json.loads(line) for line in piped.stdout.splitlines()]
    tenant = head["tenant"]
    assert list(tenant) == [
        "tenant_id", "exported_at", "revision", "paused_at", "limits", "counts", "connectors", "secrets",
        "webhooks",
    ]  # fmt: skip
    assert (tenant["tenant_id"], tenant["limits"], tenant["counts"]["jobs"]) == (
        "acme", {"max_running": None, "rate": 1.5, "burst": None, "weight": None, "max_waiting": 7}, 5,
    )  # fmt: skip
    assert [one["job"]["id"] for one in jobs] == [str(one) for one in made]
    assert (piped.stderr, filed.stdout) == ("", "")
    assert filed.stderr == f"acme: 5 jobs written to {out}\n"
    assert out.read_text().splitlines()[1:] == piped.stdout.splitlines()[1:]
    assert out.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [out]


def test_an_export_has_what_is_said_of_the_tenants_connectors_and_no_secret(database: Database) -> None:
    with database.engine("jf_admin").begin() as c:
        for tenant in ("acme", "other"):
            ConnectorSettings(c).set(tenant, {"timeout": 3})
            TenantSecrets(c).refer(tenant, "hooks", "kv/s3cr3t")
    for tenant in ("acme", "other"):
        with database.engine("jf_app").begin() as c:
            Webhooks(c, tenant=tenant).disable(f"https://{tenant}.example.com/", "moved")
    exported = inside(database.url("jf_admin"), "tenants", "export", "acme").stdout
    tenant = json.loads(exported)["tenant"]
    assert [one["config"] for one in tenant["connectors"]] == [{"timeout": 3}]
    assert [(one["name"], one["kind"]) for one in tenant["secrets"]] == [("hooks", "reference")]
    assert [one["url"] for one in tenant["webhooks"]] == ["https://acme.example.com/"]
    assert "s3cr3t" not in exported


def test_an_export_overwrites_only_if_told_and_only_a_file(database: Database, tmp_path: Path) -> None:
    fill(database, "acme", 1)
    url, out = database.url("jf_admin"), tmp_path / "x"
    out.write_text("mine")
    (tmp_path / "link").symlink_to(out)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for place in (out, tmp_path / "link"):
        refused(inside(url, "tenants", "export", "acme", "--out", str(place), status=2), "is there already", "--force")
    for place in (tmp_path, pipe):
        refused(inside(url, "tenants", "export", "acme", "--force", "--out", str(place), status=2), "is no file")
    refused(
        inside(url, "tenants", "export", "acme", "--out", str(tmp_path / "no" / "x"), status=2), "cannot be written"
    )
    assert out.read_text() == "mine"
    inside(url, "tenants", "export", "acme", "--force", "--out", str(tmp_path / "link"))
    assert len(out.read_text().splitlines()) == 2
    assert (tmp_path / "link").is_symlink()


def test_an_export_streams_and_is_one_snapshot(database: Database) -> None:
    made = fill(database, "acme", 20_000)
    with database.engine(isolation_level="AUTOCOMMIT").connect() as c:
        c.execute(sa.text("analyze"))  # as autovacuum does, which does not come in time for a test
    with running(database.url("jf_admin"), "tenants", "export", "acme") as process:
        assert process.stdout is not None
        head = process.stdout.readline()  # the pipe is full long before the end: it stands still meanwhile
        fill(database, "acme", 3)
        inside(database.url("jf_admin"), "tenants", "pause", "acme")
        ids = [json.loads(line)["job"]["id"] for line in process.stdout]
    assert process.returncode == 0
    assert json.loads(head)["tenant"]["counts"]["jobs"] == 20_000
    assert ids == [str(one) for one in made]


def test_a_reader_that_goes_away_ends_an_export_without_a_word(database: Database) -> None:
    fill(database, "acme", 5000)
    with running(database.url("jf_admin"), "tenants", "export", "acme") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b""


@pytest.fixture
def slow_export(database: Database) -> Iterator[Database]:
    """Its second page waits for a lock that the test holds."""
    fill(database, "acme", 500)
    with database.engine().connect() as holder:
        holder.execute(sa.text("select pg_advisory_lock(77)"))
        holder.execute(sa.text("alter function jobforge.export_tenant rename to export_page"))
        holder.execute(
            sa.text(
                "create function jobforge.export_tenant(p_tenant_id text, p_cursor uuid, p_limit integer) "
                "returns table (job_id uuid, record text) language plpgsql security definer as $$ begin "
                "if p_cursor is not null then perform pg_advisory_lock(77); end if; "
                "return query select * from jobforge.export_page(p_tenant_id, p_cursor, p_limit); end $$"
            )
        )
        holder.execute(sa.text("alter function jobforge.export_tenant owner to jobforge_owner"))
        holder.commit()
        yield database


def waiting(database: Database) -> bool:
    query = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    with database.engine(poolclass=sa.NullPool).connect() as c:
        return bool(c.scalar(sa.text(query)))


def test_an_interrupted_export_leaves_no_file(slow_export: Database, tmp_path: Path) -> None:
    out = tmp_path / "acme.jsonl"
    with running(slow_export.url("jf_admin"), "tenants", "export", "acme", "--out", str(out)) as process:
        wait_for(lambda: waiting(slow_export), 30, what="the second page to wait")
        (part,) = tmp_path.iterdir()
        assert part != out
        assert part.stat().st_mode & 0o777 == 0o600
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_somebody_else_made_meanwhile_is_not_overwritten(slow_export: Database, tmp_path: Path) -> None:
    out = tmp_path / "acme.jsonl"
    with running(slow_export.url("jf_admin"), "tenants", "export", "acme", "--out", str(out)) as process:
        wait_for(lambda: waiting(slow_export), 30, what="the second page to wait")
        out.write_text("mine")
        with slow_export.engine().connect() as c:
            c.execute(sa.text("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"))
        assert process.wait(20) == 2
    assert out.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [out]


# --- purge -------------------------------------------------------------------------------------------------


def test_a_purge_counts_first_and_asks(database: Database) -> None:
    fill(database, "acme", 3)
    url = database.url("jf_admin")

    dry = inside(url, "tenants", "purge", "acme", "--dry-run").stdout
    assert ["jobs", "3"] in [line.split() for line in dry.splitlines()]
    assert dry.endswith("\nnothing was deleted: --dry-run\n")
    unasked = inside(url, "tenants", "purge", "acme", status=2)
    assert "pass --yes" in unasked.stderr
    assert kept(database, "acme") == 6


def typed(database: Database, tenant: str, answer: bytes) -> tuple[int, str]:
    """What a purge says on a terminal to somebody who types an answer."""
    controller, terminal = pty.openpty()
    with os.fdopen(controller, "r+b", buffering=0) as keys:
        with running(
            database.url("jf_admin"), "tenants", "purge", "--", tenant,
            stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        ) as process:  # fmt: skip
            os.close(terminal)
            said = b""
            with contextlib.suppress(OSError):  # EIO: the other side has gone
                while chunk := keys.read(4096):
                    said += chunk
                    if answer and b"delete all of it: " in said:
                        keys.write(answer)
                        answer = b""
        return process.returncode, said.decode()


@pytest.mark.parametrize("tenant", ["acme", "two\nlines"])
def test_on_a_terminal_the_name_has_to_be_typed(database: Database, tenant: str) -> None:
    fill(database, tenant, 3)

    status, said = typed(database, tenant, b"acm\n")
    assert (status, kept(database, tenant)) == (2, 6)
    assert "nothing was deleted" in said
    status, said = typed(database, tenant, json.dumps(tenant).encode() + b"\n" if "\n" in tenant else b"acme\n")
    assert (status, kept(database, tenant)) == (0, 0)
    assert "is purged: 3 jobs" in said


def test_an_exported_and_purged_tenant_is_gone_and_others_are_not(database: Database, tmp_path: Path) -> None:
    fill(database, "acme", 2500)
    fill(database, "other", 2)
    claim(database)
    url = database.url("jf_one")
    inside(url, "tenants", "export", "acme", "--out", str(tmp_path / "x"))
    said = inside(url, "tenants", "purge", "acme", "--yes").stdout

    assert len((tmp_path / "x").read_text().splitlines()) == 2501
    assert "deleted 1,000 of 2,500 jobs" in said
    assert "acme is purged: 2,500 jobs" in said
    assert inside(url, "tenants", "count", "acme").stdout == "nothing is kept of the tenant acme\n"
    assert [json.loads(line)["tenant_id"] for line in inside(url, "tenants", "list", "--json").stdout.splitlines()] == [
        "other"
    ]


@contextlib.contextmanager
def stuck(database: Database) -> Iterator[sa.Connection]:
    """2,500 jobs of acme; whoever deletes more than the first batch waits for a lock."""
    last = fill(database, "acme", 2500)[-1]
    with database.engine().connect() as holder:
        held = sa.text("select from jobforge.idempotency_keys where job_id = :id for update")
        hold = sa.text("select from jobforge.ready where job_id = :id for update")
        holder.execute(held, {"id": last})
        holder.execute(hold, {"id": last})
        yield holder


def test_an_interrupted_purge_says_how_far_it_got_and_goes_on_when_run_again(database: Database) -> None:
    with stuck(database), running(database.url("jf_admin"), "tenants", "purge", "acme", "--yes") as process:
        wait_for(lambda: waiting(database), 30, what="the third batch to wait")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert "2,000 of 2,500 jobs are deleted, acme stays paused; run it again" in said
    assert kept(database, "acme") == 500 * 2 + 1

    assert "acme is purged: 500 jobs" in inside(database.url("jf_admin"), "tenants", "purge", "acme", "--yes").stdout
    assert kept(database, "acme") == 0


def test_a_killed_purge_goes_on_when_run_again(database: Database) -> None:
    with stuck(database), running(database.url("jf_admin"), "tenants", "purge", "acme", "--yes") as process:
        wait_for(lambda: waiting(database), 30, what="the third batch to wait")
        process.kill()
        assert process.wait(20) == -signal.SIGKILL
    assert database.audit() == []
    assert "acme is purged: 500 jobs" in inside(database.url("jf_admin"), "tenants", "purge", "acme", "--yes").stdout
    assert kept(database, "acme") == 0


def test_a_batch_that_waits_too_long_for_a_lock_is_tried_again(database: Database) -> None:
    with stuck(database) as holder, running(database.url("jf_admin"), "tenants", "purge", "acme", "--yes") as process:
        wait_for(lambda: waiting(database), 30, what="the third batch to wait")
        wait_for(lambda: not waiting(database), what="it to give up")
        wait_for(lambda: waiting(database), what="it to try again")
        holder.rollback()
        assert process.wait(20) == 0
    assert kept(database, "acme") == 0


def test_a_purge_gives_up_on_a_lock_that_is_never_given(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_purge, "TRIES", 2)
    monkeypatch.setattr(tenant_purge, "PATIENCE", "50ms")
    with stuck(database):
        done = inside(database.url("jf_admin"), "tenants", "purge", "acme", "--yes", status=2)
    assert "somebody holds jobs of acme; 2,000 are deleted" in done.stderr
    assert "run it again" in done.stderr


def test_what_comes_in_behind_a_purge_is_said(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(database, "acme", 3)
    purge = Tenants.purge

    def late(self: Tenants, *arguments: Any) -> int:
        met = purge(self, *arguments)
        if met == 0:
            fill(database, "acme", 1)
        return met

    monkeypatch.setattr(Tenants, "purge", late)
    done = inside(database.url("jf_admin"), "tenants", "purge", "acme", "--yes", status=1)
    assert "1 jobs came in behind it, and acme is no longer paused" in done.stderr
