"""What no check knows is found all the same: each object is held against what the revision made of it."""

# ruff: noqa: E501  a fault is a line

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobforge_sa.db import migrate
from jobforge_sa.ops.doctor import drift as doctor_drift
from jobforge_sa.ops.doctor.drift import Difference
from tests.fix_postgres import Database
from tests.support import one_database

JOBS_TENANT = "alter policy jobs_tenant on jobforge.jobs using"
BODY = (
    "create or replace function jobforge.current_tenant() returns text language plpgsql {} parallel safe security "
    "definer set search_path = pg_catalog, pg_temp as $$ begin return current_setting('jobforge.other', true); end $$"
)

# what was done, the object, the level, and a word of what is said
FAULTS = [
    (BODY.format("stable"), "function jobforge.current_tenant", "error", "begin return current_setting('jobforge.other'"),
    ("alter function jobforge.current_tenant() immutable", "function jobforge.current_tenant", "error", "IMMUTABLE"),
    ("alter function jobforge.current_tenant() leakproof", "function jobforge.current_tenant", "error", "LEAKPROOF"),
    ("alter function jobforge.current_tenant() security invoker", "function jobforge.current_tenant", "error", "without STABLE PARALLEL SAFE SECURITY DEFINER"),
    ("alter function jobforge.audit() reset all", "function jobforge.audit", "error", "without SET search_path"),
    ("alter function jobforge.audit() set row_security = off", "function jobforge.audit", "error", "row_security"),
    ("drop function jobforge.audit()", "function jobforge.audit", "error", "it is gone"),
    ("create function jobforge.now(integer) returns integer language sql as 'select 1'", "function jobforge.now", "error", "jobforge.now(integer)"),
    ("drop index jobforge.scheduled_due", "table jobforge.scheduled", "warning", "without CREATE INDEX scheduled_due"),
    ("drop index jobforge.jobs_tenant", "table jobforge.jobs", "error", "without CREATE UNIQUE INDEX jobs_tenant"),
    ("create index extra on jobforge.jobs (created_at)", "table jobforge.jobs", "warning", "with CREATE INDEX extra"),
    ("create unique index extra on jobforge.jobs (tenant_id)", "table jobforge.jobs", "error", "with CREATE UNIQUE INDEX extra"),
    ("alter table jobforge.ready drop constraint ready_pkey", "table jobforge.ready", "error", "PRIMARY KEY"),
    ("alter table jobforge.workers drop constraint workers_pkey", "table jobforge.workers", "error", "PRIMARY KEY"),
    ('create table public.p (tenant_id text collate "C"); alter table jobforge.jobs inherit public.p', "table jobforge.jobs", "error", "with alter table jobforge.jobs inherit public.p"),
    ("create table public.c () inherits (jobforge.leases)", "table jobforge.leases", "error", "with alter table public.c inherit jobforge.leases"),
    ("drop policy jobs_tenant on jobforge.jobs", "table jobforge.jobs", "error", "without create policy jobs_tenant"),
    (f"{JOBS_TENANT} (tenant_id = any (array[(select jobforge.current_tenant()), 'b']))", "table jobforge.jobs", "error", "ANY (ARRAY["),
    (f"{JOBS_TENANT} ((tenant_id = (select jobforge.current_tenant())) <= true)", "table jobforge.jobs", "error", "<= true"),
    ("alter policy jobs_owner on jobforge.jobs to public", "table jobforge.jobs", "error", "to public"),
    ("alter table jobforge.ready set (autovacuum_enabled = off)", "table jobforge.ready", "warning", "autovacuum_enabled=off"),
    ("alter table jobforge.ready reset (autovacuum_vacuum_threshold)", "table jobforge.ready", "warning", "without autovacuum_vacuum_threshold=5000"),
    ("alter table jobforge.ready set (toast.autovacuum_enabled = off)", "table jobforge.ready", "warning", "toast.autovacuum_enabled=off"),
    ("alter table jobforge.jobs alter queue set statistics 7", "table jobforge.jobs", "error", "statistics 7"),
    ("alter table jobforge.jobs alter tenant_id drop not null", "table jobforge.jobs", "error", "without tenant_id text"),
    ("alter table jobforge.settings drop constraint settings_tenancy_check", "table jobforge.settings", "error", "settings_tenancy_check"),
    ("create or replace view jobforge.all_attempts with (security_invoker = true) as select job_id, run, tenant_id, attempt, outcome, worker_id, claimed_at, finished_at, run_ms, error from jobforge.attempts", "view jobforge.all_attempts", "error", "without WHERE"),
    ("grant execute on function jobforge.export_tenant to jobforge_worker", "function jobforge.export_tenant", "error", "with grant execute on function jobforge.export_tenant to jobforge_worker"),
    ("revoke execute on function jobforge.claim_jobs from jobforge_worker", "function jobforge.claim_jobs", "error", "without grant execute"),
    ("grant select (tenant_id) on jobforge.leases to jobforge_worker", "table jobforge.leases", "error", "with grant select (tenant_id)"),
    ("grant select on jobforge.attempts to jobforge_app", "table jobforge.attempts", "error", "with grant select on table"),
    ("alter default privileges for role jobforge_owner grant execute on functions to public", "schema jobforge", "error", "alter default privileges"),
    ("alter role jobforge_app inherit", "role jobforge_app", "error", "inherit"),
    ("alter role jobforge_app set row_security = off", "role jobforge_app", "error", "row_security=off"),
    ("comment on table jobforge.jobs is 'mine'", "table jobforge.jobs", "note", "'mine'"),
    ("create view jobforge.extra as select 1 as n", "view jobforge.extra", "warning", "the revision made none such"),
    ("create table jobforge.extra (n int); grant select on jobforge.extra to jobforge_app", "table jobforge.extra", "error", "the revision made none such"),
    ("create table jobforge.extra (n int); comment on table jobforge.extra is 'It looks like one of ours.'", "table jobforge.extra", "warning", "the revision made none such"),
    ("create domain jobforge.extra as text", "type jobforge.extra", "error", "to public"),
    ("create aggregate jobforge.extra (integer) (sfunc = int4_sum, stype = bigint)", "function jobforge.extra", "error", "create aggregate"),
    ("create collation jobforge.extra from \"C\"", "schema jobforge", "error", "create collation"),
]  # fmt: skip


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Database]:
    with one_database(admin_url, template) as database:
        yield database


@pytest.fixture
def connection(shared: Database) -> Iterator[sa.Connection]:
    """A superuser's transaction that never commits."""
    engine = sa.create_engine(shared.url(), poolclass=sa.NullPool)
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def after(connection: sa.Connection, sql: str, looker: str = "jf_app") -> list[Difference]:
    connection.exec_driver_sql(sql, execution_options={"no_parameters": True})
    connection.exec_driver_sql(f"set local session authorization {looker}")
    found = doctor_drift.find(connection, migrate.head() or "")
    assert found is not None
    return found


def statements(cure: str) -> str:
    """The SQL of a cure, which may be what a command feeds to psql."""
    command, piped, _ = cure.partition(" | psql")
    return subprocess.check_output(["bash", "-c", command], text=True) if piped else cure


@pytest.mark.parametrize("looker", ["jf_app", "jf_worker", "jf_admin", "jf_one", "jf_stranger", "postgres"])
def test_what_the_revision_made_does_not_differ_whoever_looks(connection: sa.Connection, looker: str) -> None:
    assert after(connection, "set local search_path = jobforge, public", looker) == []


@pytest.mark.parametrize(("sql", "where", "level", "word"), FAULTS, ids=[fault[0][:60] for fault in FAULTS])
def test_a_change_by_hand_is_found_and_said(
    connection: sa.Connection, sql: str, where: str, level: str, word: str
) -> None:
    (difference,) = after(connection, sql)

    assert (difference.where, difference.level) == (where, level)
    assert word in difference.detail
    assert "\n" not in difference.detail


@pytest.mark.parametrize("sql", [fault[0] for fault in FAULTS], ids=[fault[0][:60] for fault in FAULTS])
def test_the_cure_is_a_command_that_can_be_run_twice_and_nothing_differs_behind_it(
    connection: sa.Connection, sql: str
) -> None:
    (difference,) = after(connection, sql, "postgres")
    for _ in range(1 if "inherit" in sql else 2):
        connection.exec_driver_sql(statements(difference.cure), execution_options={"no_parameters": True})
        assert doctor_drift.find(connection, migrate.head() or "") == [], difference.cure


def test_what_no_statement_makes_again_says_where_it_is_written(connection: sa.Connection) -> None:
    found = after(connection, "alter table jobforge.jobs drop column cause cascade", "postgres")
    (difference,) = (one for one in found if one.objects == ("table jobforge.jobs",))
    file, _, line = difference.cure.partition(" is written in ")[2].rpartition(":")
    assert Path(file).read_text(encoding="utf-8").splitlines()[int(line) - 1] == "-- table jobforge.jobs"


def test_what_differs_alike_is_one_difference_and_what_does_not_stands_apart(connection: sa.Connection) -> None:
    found = after(
        connection, "grant select on all tables in schema jobforge to public; drop policy jobs_wall on jobforge.jobs"
    )

    (jobs,) = (one for one in found if one.objects == ("table jobforge.jobs",))
    assert "without create policy jobs_wall" in jobs.detail
    (others,) = (one for one in found if one is not jobs)
    assert (
        others.where
        == f"{len(others.objects)} objects: {', '.join(others.objects[:3])} and {len(others.objects) - 3} more"
    )
    assert others.detail == "it is with grant select on … to public"


def test_of_a_replaced_body_a_few_lines_are_told(connection: sa.Connection) -> None:
    (difference,) = after(connection, BODY.format("stable"))
    assert "more lines)" in difference.detail
    assert len(difference.detail) < 700


def test_a_name_that_looks_like_the_border_of_two_objects_hides_nothing(connection: sa.Connection) -> None:
    name = "x\n-- function jobforge.audit\nfor"
    (difference,) = after(connection, f'create policy "{name}" on jobforge.jobs using (true)')
    assert difference.objects == ("table jobforge.jobs",)


def test_a_revision_that_is_not_known_is_not_guessed(connection: sa.Connection) -> None:
    assert doctor_drift.find(connection, "9999") is None


def test_who_may_not_ask_for_the_revision_compares_with_the_most_like_it(bare_database: Database) -> None:
    for revision in ("0001", "0002"):
        migrate.upgrade(bare_database.engine(), revision)
        with bare_database.engine("jf_stranger").connect() as stranger:
            assert doctor_drift.closest(stranger) == revision
            assert doctor_drift.find(stranger, revision) == []
