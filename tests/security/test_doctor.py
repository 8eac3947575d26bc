"""`jobforge doctor`: what it says to whom, how it looks, and how it leaves."""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from rich.console import Console

from jobforge_sa.db import migrate
from jobforge_sa.ops import screen
from jobforge_sa.ops.doctor import drift as doctor_drift
from jobforge_sa.ops.doctor import page as doctor_page
from jobforge_sa.ops.doctor import report as doctor
from jobforge_sa.ops.doctor.report import Check, Finding, Level, Report, Subject
from tests.acceptance.cli import inside, jobforge, refused
from tests.fix_postgres import Database

LOGINS = ("jf_app", "jf_worker", "jf_admin")


def dba(database: Database, *statements: str) -> None:
    with database.engine(isolation_level="AUTOCOMMIT").connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


@pytest.fixture
def closed(database: Database) -> Database:
    """A database as the documentation asks for it: only its own logins come in."""
    dba(database, f"revoke connect, temporary on database {database.name} from public")
    dba(database, f"grant connect on database {database.name} to {', '.join(LOGINS)}")
    return database


@pytest.fixture
def signed(closed: Database) -> Database:
    """The same, with signed tenancy."""
    dba(closed, f"select jobforge.add_tenant_key('k1', '\\x{'ab' * 32}')", "select jobforge.use_tenancy('signed')")
    return closed


@pytest.fixture
def one(closed: Database) -> Database:
    """The same, with the login that has all roles; to the others it is a finding."""
    dba(closed, f"grant connect on database {closed.name} to jf_one")
    return closed


def lines(database: Database, user: str, *arguments: str, status: int = 0) -> Iterator[dict[str, str]]:
    done = inside(database.url(user), "doctor", "--json", *arguments, status=status)
    return (json.loads(line) for line in done.stdout.splitlines())


def faults(database: Database, user: str, status: int = 0) -> list[tuple[str, str]]:
    found = lines(database, user, status=status)
    return [(one["level"], one["name"]) for one in found if one["level"] != "unseen"]


def test_to_the_admin_of_a_sound_database_all_is_well(closed: Database) -> None:
    done = jobforge(closed.url("jf_admin"), "doctor")

    headline, *rest = done.stdout.splitlines()
    assert headline == "all is well"
    said = dict(line.split(maxsplit=1) for line in rest if line.startswith("  ") and ":" not in line)
    assert said["database"] == closed.name
    assert said["login"] == "jf_admin"
    assert said["roles"] == "jobforge_admin"
    assert said["schema"] == migrate.head()
    assert said["server"].startswith("Postgres 1")
    assert done.stderr == ""


@pytest.mark.parametrize("user", ["jf_app", "jf_worker"])
def test_what_a_login_cannot_look_at_is_said(closed: Database, user: str) -> None:
    said = inside(closed.url(user), "doctor").stdout

    assert said.startswith("all is well\n")
    unseen = said.partition("not looked at\n")[2]
    assert "each job stands in exactly one place: a login that is a member of jobforge_admin can" in unseen
    assert "sessions of other logins: a login that is a member of pg_read_all_stats can" in unseen
    assert {one["name"] for one in lines(closed, user)} == {"audit", "old_snapshot", "work"}


def test_a_stranger_may_ask_and_hears_what_is_hidden_from_it(closed: Database) -> None:
    dba(closed, f"grant connect on database {closed.name} to jf_stranger", "drop policy jobs_wall on jobforge.jobs")

    assert faults(closed, "jf_stranger", status=1) == [
        ("error", "drift"),
        ("error", "missing_wall"),
        ("error", "no_role"),
    ]
    assert {one["name"] for one in lines(closed, "jf_stranger", status=1) if one["level"] == "unseen"} == {
        "schema_version",
        "tenancy",
        "audit",
        "old_snapshot",
        "work",
    }


def test_to_a_login_without_a_role_nothing_is_well(closed: Database) -> None:
    dba(closed, f"grant connect on database {closed.name} to jf_stranger")
    said = inside(closed.url("jf_stranger"), "doctor", status=1).stdout

    assert said.startswith("1 error\n")
    assert "cure: grant jobforge_app to jf_stranger;" in said
    assert "tenancy   not known" in said


def test_a_superuser_hears_what_no_policy_protects_and_what_still_does(closed: Database) -> None:
    said = inside(closed.url(), "doctor").stdout

    assert said.startswith("1 warning\n")
    assert "WARNING  row_security_inactive" in said
    assert "NOT protected: what it reads from the tables itself" in said
    assert "Still protected: functions demand the tenant" in said
    assert "roles     all of them" in said


def test_one_login_for_everything_works_and_all_hear_what_that_weakens(one: Database) -> None:
    for user in ("jf_one", "jf_app", "jf_admin"):
        assert faults(one, user) == [("warning", "shared_login")] * 2


def test_a_warning_is_status_1_where_that_is_asked_for(one: Database) -> None:
    inside(one.url("jf_one"), "doctor", status=0)
    inside(one.url("jf_one"), "doctor", "--strict", status=1)


def test_a_note_is_never_status_1(database: Database) -> None:
    dba(database, f"revoke connect on database {database.name} from public")
    dba(database, f"grant connect on database {database.name} to jf_app")
    dba(database, f"alter role jf_app in database {database.name} set timezone = 'Asia/Riyadh'")
    said = inside(database.url("jf_app"), "doctor", "--strict", status=0).stdout

    assert said.startswith("1 note\n")
    assert f"role jf_app in database {database.name}: it comes with TimeZone=Asia/Riyadh" in said


def test_signed_tenancy_is_said_and_asks_for_more(signed: Database) -> None:
    assert "tenancy   signed" in inside(signed.url("jf_app"), "doctor").stdout
    assert faults(signed, "jf_app") == []

    dba(
        signed,
        f"grant temporary on database {signed.name} to public",
        "create table orders (tenant_id text)",
        "alter table orders enable row level security, force row level security",
        "create policy t on orders using (tenant_id = current_setting('jobforge.tenant_id', true))",
    )
    assert faults(signed, "jf_app", status=1) == [("error", "plain_policy"), ("warning", "temporary_objects")]
    dba(signed, *(one["remedy"] for one in lines(signed, "jf_app", status=1) if one["remedy"].endswith(";")))
    assert faults(signed, "jf_app") == []


def test_plain_tenancy_takes_what_signed_does_not(closed: Database) -> None:
    dba(
        closed,
        f"grant temporary on database {closed.name} to public",
        "create table orders (tenant_id text)",
        "alter table orders enable row level security, force row level security",
        "create policy t on orders using (tenant_id = current_setting('jobforge.tenant_id', true))",
    )
    assert faults(closed, "jf_app") == []
    assert "tenancy   plain" in inside(closed.url("jf_app"), "doctor").stdout


def test_what_no_check_knows_is_drift(closed: Database) -> None:
    dba(closed, "alter function jobforge.current_tenant() immutable")
    said = inside(closed.url("jf_app"), "doctor", status=1).stdout

    assert "ERROR  drift" in said
    assert "This is not what the revision made, which was reviewed and tested." in said
    assert "function jobforge.current_tenant: it is without STABLE PARALLEL SAFE" in said
    (cure,) = (line.partition("cure: ")[2] for line in said.splitlines() if "cure: sed" in line)
    assert cure.endswith(f"| psql # as revision {migrate.head()} made it")
    _, _, lines, written, *_ = shlex.split(cure)
    begins = int(lines.partition(",")[0]) - 1
    assert Path(written).read_text().splitlines()[begins] == "-- function jobforge.current_tenant"


def test_of_what_no_revision_made_the_cure_is_to_take_it_away(closed: Database) -> None:
    dba(closed, "set role jobforge_owner", "create view jobforge.extra as select 1 as n")
    (cure,) = (one["remedy"] for one in lines(closed, "jf_app", status=1) if one["name"] == "drift")
    assert cure == "drop view if exists jobforge.extra;"


def test_a_login_that_was_shut_out_of_the_schema_hears_so_and_is_let_in_by_the_cure(closed: Database) -> None:
    dba(closed, "revoke usage on schema jobforge from jobforge_app")
    said = inside(closed.url("jf_app"), "doctor", status=1).stdout

    assert said.startswith("1 error\n")
    assert "jobforge_app is missing" not in said
    refused(inside(closed.url("jf_app"), "jobs", "list", status=2), 'grant usage on schema jobforge to "jf_app";')
    (cure,) = (one["remedy"] for one in lines(closed, "jf_app", status=1) if one["level"] == "error")
    assert cure == "grant usage on schema jobforge to jf_app;"
    dba(closed, cure)
    assert inside(closed.url("jf_app"), "doctor").stdout.startswith("all is well\n")


def test_signed_tenancy_makes_an_error_of_what_goes_around_it(signed: Database) -> None:
    dba(signed, "create table orders (n int)", "alter table orders enable row level security")
    dba(signed, "grant all on orders to jf_app", "grant create on schema public to jf_worker")
    assert faults(signed, "jf_app", status=1) == [("error", "maker_login"), ("error", "passing_grant")]

    dba(signed, "select jobforge.use_tenancy('plain')")
    assert faults(signed, "jf_app") == [("warning", "maker_login"), ("warning", "passing_grant")]


def test_a_workers_login_is_not_made_an_applications(closed: Database) -> None:
    done = inside(closed.url("jf_worker"), "jobs", "list", status=2)
    refused(done, "connect as a login of the application", "jobforge_worker")
    assert "grant jobforge_app" not in done.stderr


def test_a_revision_of_which_nothing_is_known_is_not_looked_at(
    closed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_drift, "MADE", Path("/nowhere"))
    found = list(lines(closed, "jf_admin"))
    assert [(one["level"], one["name"]) for one in found if one["name"] == "drift"] == [("unseen", "drift")]


def test_a_database_open_to_the_cluster_is_a_note(database: Database) -> None:
    said = inside(database.url("jf_admin"), "doctor").stdout

    assert said.splitlines()[0].endswith("1 note")  # besides what the logins of other tests are warned of
    assert f"cure: revoke connect, temporary on database {database.name} from public;" in said


def test_a_fault_is_status_1_and_its_cure_can_be_copied(closed: Database) -> None:
    dba(closed, "grant select on jobforge.attempts to jobforge_app", "drop policy jobs_wall on jobforge.jobs")
    said = jobforge(closed.url("jf_admin"), "doctor", status=1).stdout

    assert said.startswith("4 errors\n")
    cures = [line.partition("cure: ")[2] for line in said.splitlines() if "cure: " in line]
    assert len(cures) == 4  # each is known to a check, and is drift
    dba(closed, *cures)
    assert inside(closed.url("jf_admin"), "doctor").stdout.startswith("all is well\n")


@pytest.mark.no_audit("the auditor shall complain")
def test_the_auditors_complaint_is_an_error(closed: Database) -> None:
    dba(closed, "insert into jobforge.ready values ('q', 'a', 0, gen_random_uuid(), 't', 0, 0, 0)")

    assert faults(closed, "jf_admin", status=1) == [("error", "audit")]
    assert faults(closed, "jf_app") == []
    dba(closed, f"grant connect on database {closed.name} to jf_one")
    assert faults(closed, "jf_one", status=1) == [("error", "audit"), *[("warning", "shared_login")] * 2]


def test_json_has_the_same_names_in_each_line(closed: Database) -> None:
    dba(closed, "alter table jobforge.jobs no force row level security")
    found = list(lines(closed, "jf_app", status=1))

    assert [one["level"] for one in found] == ["error", "error", "unseen", "unseen", "unseen"]
    assert all(list(one) == ["name", "level", "object", "detail", "remedy"] for one in found)
    assert [one["object"] for one in found[:2]] == ["table jobforge.jobs", "jobforge.jobs"]
    assert found[1]["remedy"].startswith("alter table jobforge.jobs enable row level security;")


@pytest.mark.parametrize("before", ["nothing", "base"])
def test_without_the_schema_there_is_nothing_to_examine(bare_database: Database, before: str) -> None:
    if before == "base":
        migrate.upgrade(bare_database.engine())
        migrate.downgrade(bare_database.engine(), "base")

    refused(inside(bare_database.url(), "doctor", status=2), "revision base", "jobforge migrate")


def test_without_a_database_there_is_nothing_to_examine(admin_url: sa.URL) -> None:
    refused(inside(admin_url.set(database="jobforge_no_such"), "doctor", status=2), "no connection")


def test_an_older_schema_is_an_error_and_is_examined_all_the_same(bare_database: Database) -> None:
    migrate.upgrade(bare_database.engine(), "0001")
    dba(bare_database, "drop policy jobs_wall on jobforge.jobs")

    found = list(lines(bare_database, "postgres", status=1))
    assert [one["name"] for one in found if one["level"] == "error"] == ["drift", "missing_wall", "schema_version"]
    assert any("jobforge migrate" in one["remedy"] for one in found)


def test_names_in_the_catalog_are_not_obeyed_by_the_terminal(closed: Database) -> None:
    dba(closed, 'create policy "\x1b[2Jgone\n" on jobforge.jobs using (true)')
    said = inside(closed.url("jf_admin"), "doctor", status=1).stdout

    assert "foreign_policy" in said
    assert "\x1b" not in said
    assert "\x1b" not in inside(closed.url("jf_admin"), "doctor", "--json", status=1).stdout


def test_a_check_that_the_database_refuses_stops_no_other(closed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Check("broken", "", "select 1 / 0")
    ours = doctor.checks()
    monkeypatch.setattr(
        doctor, "checks", lambda group="": ours if not group else (broken,) if group == "connection" else ()
    )
    dba(closed, "drop policy jobs_wall on jobforge.jobs")

    report = doctor.examine(closed.engine("jf_admin"))
    assert [one.name for one in report.of(Level.ERROR)] == ["drift", "missing_wall"]
    assert [one.detail for one in report.of(Level.UNSEEN) if one.name == "broken"] == ["division by zero"]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_terminal_wraps_what_is_read_and_never_what_is_copied(width: int) -> None:
    remedy = "create policy a on b using (true); " * 5
    report = Report(
        Subject("shop", "app", False, "18.1", ("jobforge_app",), "0002", "plain"),
        (Finding("open_table", Level.ERROR, "jobforge.jobs", "row level security is off " * 9, remedy),),
    )
    paper = io.StringIO()
    target = Console(file=paper, width=width, force_terminal=True, highlight=False, markup=False, emoji=False)
    target.no_color = True
    screen.show(target, *doctor_page.parts(report))

    written = [Console(width=1000).render_str(line).plain for line in paper.getvalue().splitlines()]
    (cure,) = (line for line in written if "cure: " in line)
    assert remedy.strip() in cure
    assert written[0].startswith("1 error") or "1 error" in written[0]
