"""Each check finds the fault that it is made for, alone, and its remedy cures it; of a healthy schema none complains."""

# ruff: noqa: E501  a fault is a line

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from jobforge_sa.db import migrate
from jobforge_sa.ops.doctor import drift as doctor_drift
from jobforge_sa.ops.doctor import report as doctor
from jobforge_sa.ops.doctor.report import Check, Finding, Level
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.fix_postgres import Database
from tests.support import one_database

HISTORY = [script.revision for script in ScriptDirectory(str(migrate.script_location())).walk_revisions()][::-1]
SCHEMA, CONNECTION = doctor.checks(), doctor.checks("connection")
LOGINS, SIGNED, APPLICATION = doctor.checks("logins"), doctor.checks("signed"), doctor.checks("application")


@dataclass(frozen=True)
class Mutant:
    """A fault, made by a superuser in a transaction that is rolled back."""

    check: str
    variant: str
    sql: str
    level: str = "error"
    login: str = "jf_stranger"  # who looks for it
    beside: str = ""  # run by that login in a connection of its own, left open
    swap: tuple[str, str] = (" ", " ")  # in the check's text, for what no test can have or wait for
    remedy_runs: bool = True
    also: tuple[str, ...] = ()  # checks that must find what follows from it

    def __str__(self) -> str:
        return f"{self.check}-{self.variant}"


def table(columns: str, name: str = "extra") -> str:
    """A table as our revisions make them, but for the policies of the application."""
    return f"""
        set local role jobforge_owner;
        create table jobforge.{name} ({columns});
        alter table jobforge.{name} enable row level security;
        alter table jobforge.{name} force row level security;
        create policy {name}_owner on jobforge.{name} to jobforge_owner using (current_user = 'jobforge_owner');
        comment on table jobforge.{name} is 'More.';"""


def function(body: str, kind: str = "language plpgsql security definer") -> str:
    """A function as our revisions make them."""
    return f"""
        set local role jobforge_owner;
        create function jobforge.extra(p_n integer) returns integer {kind}
        set search_path = pg_catalog, pg_temp as $${body}$$;
        comment on function jobforge.extra is 'More.';"""


SOUND = "begin return p_n; end"
TENANT = 'tenant_id text collate "C" not null, job_id uuid not null'
JOBS_TENANT = "alter policy jobs_tenant on jobforge.jobs using"

OPEN = [
    Mutant("open_table", "not_forced", "alter table jobforge.jobs no force row level security"),
    Mutant("open_table", "disabled", "alter table jobforge.leases disable row level security"),
    Mutant(
        "open_table",
        "new",
        "set local role jobforge_owner; create table jobforge.extra (n int); comment on table jobforge.extra is 'x'",
    ),
    Mutant("missing_wall", "dropped", "drop policy jobs_wall on jobforge.jobs"),
    Mutant("missing_wall", "select_only", "drop policy jobs_wall on jobforge.jobs; create policy jobs_wall on jobforge.jobs as restrictive for select to jobforge_app using (tenant_id = (select jobforge.current_tenant()))"),
    Mutant("missing_wall", "of_others", "alter policy jobs_wall on jobforge.jobs to jobforge_admin"),
    Mutant("missing_wall", "new_table", table(TENANT) + "grant select on jobforge.extra to jobforge_app"),
    Mutant("missing_wall", "one_column", table(TENANT) + "grant select (job_id) on jobforge.extra to jobforge_app"),
    Mutant("tenantless_table", "new_table", table("n integer") + "grant select on jobforge.extra to jobforge_app"),
    Mutant("tenantless_table", "workers", "grant select on jobforge.workers to jobforge_app"),
    Mutant("tenantless_table", "one_column", "grant select (name) on jobforge.workers to jobforge_app"),
    Mutant("tenantless_table", "version", "grant select on jobforge.alembic_version to jobforge_app"),
    Mutant("unlogged_table", "ready", "alter table jobforge.ready set unlogged"),
    Mutant("inheriting_table", "parent", 'create table public.p (tenant_id text collate "C"); alter table jobforge.jobs inherit public.p; grant select on public.p to jf_app'),
    Mutant("inheriting_table", "leases", 'create table public.p (token uuid); alter table jobforge.leases inherit public.p'),
    Mutant("inheriting_table", "child", "create table public.c () inherits (jobforge.jobs)"),
]  # fmt: skip

POLICIES = [
    Mutant("foreign_policy", "public", "create policy extra on jobforge.jobs using (true)"),
    Mutant("foreign_policy", "stranger", "create policy extra on jobforge.workers to jf_stranger using (true)"),
    Mutant("fail_open_policy", "true", f"{JOBS_TENANT} (true)"),
    Mutant("fail_open_policy", "or_null", f"{JOBS_TENANT} (tenant_id = (select jobforge.current_tenant()) or (select jobforge.current_tenant()) is null)"),
    Mutant("fail_open_policy", "coalesce", f"{JOBS_TENANT} (tenant_id = coalesce((select jobforge.current_tenant()), tenant_id))"),
    Mutant("fail_open_policy", "distinct", f"{JOBS_TENANT} (tenant_id is not distinct from (select jobforge.current_tenant()))"),
    Mutant("fail_open_policy", "bare_setting", f"{JOBS_TENANT} (tenant_id = (select current_setting('jobforge.tenant_id', true)))"),
    Mutant("fail_open_policy", "not", f"{JOBS_TENANT} (not tenant_id = (select jobforge.current_tenant()))"),
    Mutant("fail_open_policy", "any", f"{JOBS_TENANT} (tenant_id = any (array[(select jobforge.current_tenant()), queue]))"),
    Mutant("fail_open_policy", "at_most_true", f"{JOBS_TENANT} ((tenant_id = (select jobforge.current_tenant())) <= true)"),
    Mutant("fail_open_policy", "worker", "create policy extra on jobforge.jobs for select to jobforge_worker using (true)"),
    Mutant("fail_open_policy", "wall_check", "alter policy jobs_wall on jobforge.jobs with check (true)"),
    Mutant("unwrapped_tenant_call", "bare", f"{JOBS_TENANT} (tenant_id = jobforge.current_tenant())", "warning"),
    Mutant("unwrapped_tenant_call", "beside", "alter policy jobs_wall on jobforge.jobs with check (tenant_id = (select jobforge.current_tenant()) and tenant_id = jobforge.current_tenant())", "warning", also=("fail_open_policy",)),
    Mutant("competing_policies", "select", "create policy extra on jobforge.jobs for select to jobforge_app using (tenant_id = (select jobforge.current_tenant()))", "warning"),
    Mutant("competing_policies", "all", "create policy extra on jobforge.jobs to jobforge_admin using (true)", "warning"),
    Mutant("inherited_owner_policy", "true", "alter policy jobs_owner on jobforge.jobs using (true)", "warning"),
    Mutant("inherited_owner_policy", "and_or", "alter policy jobs_owner on jobforge.jobs using (current_user = 'jobforge_owner' and priority = 0 or true)", "warning"),
    Mutant("inherited_owner_policy", "or", "alter policy jobs_owner on jobforge.jobs with check (current_user = 'jobforge_owner' or priority = 0)", "warning"),
]  # fmt: skip

FUNCTIONS = [
    Mutant("unpinned_search_path", "reset", "alter function jobforge.audit() reset all"),
    Mutant("unpinned_search_path", "empty", "alter function jobforge.audit() set search_path = ''"),
    Mutant("unpinned_search_path", "pg_catalog", "alter function jobforge.audit() set search_path = pg_catalog"),
    Mutant("unpinned_search_path", "invoker", "alter function jobforge.settle set search_path = public", "warning"),
    Mutant("public_function", "granted", "grant execute on function jobforge.settle to public"),
    Mutant("public_function", "default", function(SOUND, "language plpgsql") + "grant execute on function jobforge.extra to public"),
    Mutant("public_function", "all", "grant execute on all functions in schema jobforge to public"),
    Mutant("dynamic_sql", "definer", function("begin execute 'select 1'; return 1; end")),
    Mutant("dynamic_sql", "behind_a_comment", function("begin perform '--'; execute 'select 1'; return 1; end")),
    Mutant("dynamic_sql", "xml", function("select length(query_to_xml('select 1', true, true, '')::text)", "language sql"), "warning"),
    Mutant("unasked_tenant", "new", function(SOUND) + "grant execute on function jobforge.extra to jobforge_app"),
    Mutant("unasked_tenant", "all", "grant execute on all functions in schema jobforge to jobforge_app"),
    Mutant("unasked_tenant", "in_a_comment", function("begin -- current_tenant()\n return p_n; end") + "grant execute on function jobforge.extra to jobforge_app"),
    Mutant("unasked_tenant", "audit", "grant execute on function jobforge.audit() to jobforge_app"),
    Mutant("definer_language", "internal", """
        create function jobforge.extra(integer) returns integer language internal security definer
        set search_path = pg_catalog, pg_temp as 'int4abs';
        comment on function jobforge.extra is 'More.'; alter function jobforge.extra owner to jobforge_owner;
        revoke execute on function jobforge.extra from public"""),
    Mutant("leakproof_function", "public", "create function public.spy(text) returns boolean language plpgsql leakproof as $$ begin raise notice '%', $1; return true; end $$", "warning"),
]  # fmt: skip

GRANTS = [
    Mutant("foreign_grant", "public_schema", "grant usage on schema jobforge to public"),
    Mutant("foreign_grant", "public_table", "grant select on jobforge.workers to public; revoke select on jobforge.workers from public; grant update (name) on jobforge.workers to jf_stranger"),
    Mutant("foreign_grant", "stranger_table", "grant select, insert on jobforge.jobs to jf_stranger"),
    Mutant("foreign_grant", "stranger_column", "grant select (token) on jobforge.leases to jf_stranger"),
    Mutant("foreign_grant", "stranger_function", "grant execute on function jobforge.claim_jobs to jf_stranger"),
    Mutant("foreign_grant", "stranger_option", "grant execute on function jobforge.claim_jobs to jf_stranger with grant option"),
    Mutant("foreign_grant", "public_type", "grant usage on type jobforge.ended_run to public"),
    Mutant("foreign_grant", "stranger_schema", "grant usage, create on schema jobforge to jf_stranger"),
    Mutant("foreign_grant", "all_tables", "grant select on all tables in schema jobforge to public", also=("readable_secret", "tenantless_table")),
    Mutant("foreign_grant", "all_functions", "grant execute on all functions in schema jobforge to jf_stranger"),
    Mutant("grant_option", "all", "grant select on jobforge.jobs, jobforge.outcomes, jobforge.ready, jobforge.scheduled, jobforge.limits to jobforge_admin with grant option"),
    Mutant("write_grant", "all", "grant delete on all tables in schema jobforge to jobforge_worker"),
    Mutant("grant_option", "function", "grant execute on function jobforge.claim_jobs to jobforge_worker with grant option"),
    Mutant("grant_option", "table", "grant select on jobforge.jobs to jobforge_app with grant option"),
    Mutant("grant_option", "column", "grant select (run) on jobforge.leases to jobforge_app with grant option"),
    Mutant("grant_option", "schema", "grant usage on schema jobforge to jobforge_app with grant option"),
    *(Mutant("write_grant", right, f"grant {right} on jobforge.jobs to jobforge_app")
      for right in ("insert", "update", "delete", "truncate", "references", "trigger")),
    Mutant("write_grant", "column", "grant update (priority) on jobforge.jobs to jobforge_admin"),
    Mutant("write_grant", "worker", "grant delete on jobforge.leases to jobforge_worker"),
    Mutant("schema_create_grant", "app", "grant create on schema jobforge to jobforge_app"),
    Mutant("readable_secret", "lease", "grant select (token) on jobforge.leases to jobforge_admin"),
    Mutant("readable_secret", "attempts", "grant select on jobforge.attempts to jobforge_app"),
    Mutant("readable_secret", "worker", "grant select on jobforge.leases to jobforge_worker"),
    Mutant("readable_secret", "key", "drop table if exists jobforge.tenant_keys cascade;" + table("kid text, inner_pad bytea", "tenant_keys") + "grant select (kid) on jobforge.tenant_keys to jobforge_admin"),
    Mutant("readable_secret", "connector", "drop table if exists jobforge.connector_secrets cascade;" + table("name text, value text", "connector_secrets") + "grant select (name) on jobforge.connector_secrets to jobforge_admin"),
    Mutant("readable_secret", "view", """
        set local role jobforge_owner;
        create view jobforge.extra with (security_invoker = true) as select token as lease_token from jobforge.leases;
        comment on view jobforge.extra is 'More.'; grant select on jobforge.extra to jobforge_worker"""),
    Mutant("open_default_privileges", "functions", "alter default privileges for role jobforge_owner grant execute on functions to public"),
    Mutant("open_default_privileges", "types", "alter default privileges for role jobforge_owner grant usage on types to public"),
    Mutant("open_default_privileges", "tables", "alter default privileges for role jobforge_owner in schema jobforge grant select on tables to jobforge_app"),
    Mutant("open_default_privileges", "other_creator", "alter default privileges in schema jobforge grant select on tables to public"),
]  # fmt: skip

ROLES = [
    *(Mutant("overpowered_role", power, f"alter role jobforge_app {power}", level)
      for power, level in (("login", "warning"), ("bypassrls", "error"), ("createrole", "error"),
                           ("createdb", "warning"), ("replication", "warning"))),
    Mutant("overpowered_role", "superuser", "alter role jobforge_app superuser", also=("readable_secret", "tenantless_table", "unasked_tenant")),
    Mutant("missing_role", "renamed", "alter role jobforge_worker rename to jf_gone", remedy_runs=False, also=("foreign_grant",)),
    Mutant("role_membership", "each_other", "grant jobforge_worker to jobforge_app"),
    Mutant("role_membership", "read_all", "grant pg_read_all_data to jobforge_admin"),
    Mutant("standing_tenant", "role", "alter role jf_app set jobforge.tenant_id = 'a'", "warning"),
    Mutant("standing_tenant", "both", "do $$ begin execute format('alter role jf_app in database %I set jobforge.tenant_id = %L', current_database(), 'a'); end $$", "warning"),
    Mutant("standing_tenant", "database", "do $$ begin execute format('alter database %I set request.jwt.claims = %L', current_database(), '{}'); end $$", "warning"),
]  # fmt: skip

# at login there are triggers from 17 on, and they are the same row of the catalog
EVENT = """create function public.spy() returns event_trigger language plpgsql as $$ begin end $$;
    create event trigger spy_{} on ddl_command_end execute function public.spy()"""

OBJECTS = [
    Mutant("unwalled_view", "reset", "alter view jobforge.all_jobs reset (security_invoker)"),
    Mutant("unwalled_view", "off", "alter view jobforge.all_jobs set (security_invoker = off)"),
    Mutant("unwalled_view", "materialized", "set local role jobforge_owner; create materialized view jobforge.extra as select 1 as n; comment on materialized view jobforge.extra is 'x'"),
    Mutant("enum_column", "state", "set local role jobforge_owner; create type jobforge.mood as enum ('a'); comment on type jobforge.mood is 'x';" + table("mood jobforge.mood"), "warning"),
    Mutant("unindexed_foreign_key", "none", table(f"{TENANT}, foreign key (tenant_id, job_id) references jobforge.jobs (tenant_id, id)"), "warning"),
    Mutant("unindexed_foreign_key", "second", table(f"{TENANT}, n integer, foreign key (tenant_id, job_id) references jobforge.jobs (tenant_id, id)") + "create index on jobforge.extra (n, tenant_id, job_id)", "warning"),
    Mutant("tenantless_foreign_key", "job", table(f"{TENANT}, foreign key (job_id) references jobforge.jobs (id)") + "create index on jobforge.extra (job_id)"),
    Mutant("foreign_owner", "table", "alter table jobforge.jobs owner to postgres; grant select on jobforge.jobs to jobforge_owner; revoke select on jobforge.jobs from jobforge_owner"),
    Mutant("foreign_owner", "view", "alter view jobforge.all_jobs owner to jf_stranger"),
    Mutant("foreign_owner", "function", "alter function jobforge.audit() owner to jf_stranger"),
    Mutant("foreign_owner", "type", "alter type jobforge.ended_run owner to jf_stranger"),
    Mutant("foreign_owner", "schema", "alter schema jobforge owner to jf_stranger"),
    Mutant("stray_object", "definer", """
        create function public.extra() returns bigint language sql security definer set search_path = pg_catalog, pg_temp
        as 'select count(*) from jobforge.jobs'; alter function public.extra owner to jobforge_owner"""),
    Mutant("stray_object", "table", "create table public.extra (n integer); alter table public.extra owner to jobforge_owner", "warning"),
    Mutant("trigger", "insert", """
        create function public.spy() returns trigger language plpgsql as $$ begin return new; end $$;
        create trigger spy before insert on jobforge.jobs for each row execute function public.spy()"""),
    Mutant("rewrite_rule", "insert", "create rule spy as on insert to jobforge.jobs do also notify spy"),
    Mutant("published_table", "all", "create publication spy for all tables", "warning"),
    Mutant("published_table", "schema", "create publication spy for tables in schema jobforge", "warning"),
    Mutant("event_trigger", "login", EVENT.format("login"), "warning", swap=("= 'login'", "= 'ddl_command_end'")),
    Mutant("event_trigger", "names_a_tenant", EVENT.format("drop").replace("begin end", "begin perform set_config('jobforge.tenant_id', 'a', false); end"), "warning"),
    Mutant("event_trigger", "other", EVENT.format("ddl"), "note"),
    Mutant("published_table", "table", "create publication spy for table jobforge.jobs, jobforge.leases", "warning"),
]  # fmt: skip

REACHING = [
    Mutant("reaching_view", "superuser", "create view public.extra as select * from jobforge.jobs; grant select on public.extra to jf_app"),
    Mutant("reaching_view", "of_a_view", """
        create view public.inner with (security_invoker = true) as select * from jobforge.all_jobs;
        create view public.extra as select * from public.inner; grant select (id) on public.extra to public""".replace("public.inner", "public.inside")),
    Mutant("reaching_view", "admin", "grant create on schema public to jf_admin; set local role jf_admin; create view public.extra as select id, payload from jobforge.jobs; grant select on public.extra to public"),
    Mutant("reaching_view", "private", "create view public.extra as select * from jobforge.jobs", "note"),
    Mutant("reaching_view", "materialized", "create materialized view public.extra as select * from jobforge.jobs; alter materialized view public.extra owner to jf_app; grant select on public.extra to jf_stranger"),
    Mutant("reaching_function", "table", "create function public.extra() returns bigint language sql security definer as 'select count(*) from jobforge.jobs'"),
    Mutant("reaching_function", "quoted", """create function public.extra() returns bigint language sql security definer as 'select count(*) from "jobforge" . "jobs"'"""),
    Mutant("reaching_function", "standard_body", "create function public.extra() returns bigint language sql security definer begin atomic select count(*) from jobforge.all_jobs; end"),
    Mutant("reaching_function", "search_path", "create function public.extra() returns bigint language sql security definer set search_path = jobforge as 'select count(*) from jobs'"),
    Mutant("reaching_function", "claim", """
        grant create on schema public to jf_worker; set local role jf_worker;
        create procedure public.extra(q text) language plpgsql security definer as
        $$ begin perform jobforge.claim_jobs(gen_random_uuid(), array[q], array[q]); end $$"""),
    Mutant("reaching_function", "broad", """
        grant pg_read_all_data to jf_stranger; grant create on schema public to jf_stranger; set local role jf_stranger;
        create function public.extra() returns setof uuid language sql security definer as 'select token from jobforge.leases'"""),
    Mutant("reaching_function", "asks", "create function public.extra() returns bigint language sql security definer as 'select count(*) from jobforge.jobs where tenant_id = jobforge.current_tenant()'", "note"),
]  # fmt: skip

BROAD = [
    Mutant("broad_reader", "app", "grant pg_read_all_data to jf_app", "warning"),
    Mutant("broad_reader", "writer", "grant pg_write_all_data to jf_app", "warning"),
    Mutant(
        "broad_reader",
        "by_a_group",
        "create role jf_group nologin; grant pg_read_all_data to jf_group; grant jf_group to jf_admin",
        "warning",
    ),
    Mutant("broad_reader", "admin", "grant pg_read_all_data to jf_admin", "warning"),
]

MUTANTS = [*OPEN, *POLICIES, *FUNCTIONS, *GRANTS, *ROLES, *OBJECTS, *REACHING, *BROAD]

NUMBER = "current_setting('server_version_num')::int"
CONNECTION_MUTANTS = [
    Mutant("row_security_inactive", "superuser", "", "warning", login="postgres", remedy_runs=False),
    Mutant("row_security_inactive", "bypass", "alter role jf_admin bypassrls", "warning", login="jf_admin"),
    Mutant("open_database", "default", "do $$ begin execute format('grant connect on database %I to public', current_database()); end $$", "note", login="jf_app"),
    *(Mutant("outdated_server", number, "", "warning", login="jf_app", swap=(NUMBER, number), remedy_runs=False)
      for number in ("150013", "150008", "160009", "160004", "170005", "170000")),
    Mutant("old_snapshot", "minutes", "", "note", login="jf_app", beside="begin isolation level repeatable read; select 1", swap=("interval '5 minutes'", "interval '0'"), remedy_runs=False),
    Mutant("asynchronous_commit", "off", "set local synchronous_commit = off", "warning", login="jf_app", remedy_runs=False),
    Mutant("no_role", "stranger", ""),
    Mutant("no_entry", "app", "revoke usage on schema jobforge from jobforge_app", login="jf_app"),
    Mutant("no_entry", "another", "revoke usage on schema jobforge from jobforge_worker; grant usage on schema jobforge to jf_app", login="jf_worker"),
]  # fmt: skip

GROUP = "create role jf_group nologin; grant {} to jf_group; grant jf_group to {}; "
LOGIN_MUTANTS = [
    Mutant("shared_login", "app_worker", "grant jobforge_worker to jf_app", "warning"),
    Mutant("shared_login", "app_admin", "grant jobforge_admin to jf_app", "warning"),
    Mutant("shared_login", "worker_admin", "grant jobforge_admin to jf_worker", "warning"),
    Mutant("shared_login", "by_a_group", GROUP.format("jobforge_admin", "jf_app"), "warning"),
    Mutant("owner_login", "app", "grant jobforge_owner to jf_app", "warning"),
    Mutant("owner_login", "by_a_group", GROUP.format("jobforge_owner", "jf_app"), "warning"),
    Mutant("owner_login", "createrole", "alter role jf_app createrole", "warning", swap=(NUMBER, "150018")),
    Mutant("role_admin", "app", "grant jobforge_app to jf_app with admin option", "warning"),
    Mutant("role_admin", "by_a_group", "create role jf_group nologin; grant jobforge_worker to jf_group with admin option; grant jf_group to jf_worker", "warning"),
    Mutant("unbound_login", "superuser", "alter role jf_admin superuser", "warning"),
    Mutant("unbound_login", "bypassrls", "alter role jf_app bypassrls", "warning"),
    Mutant("unbound_login", "by_a_group", GROUP.format("jobforge_app", "jf_stranger") + "alter role jf_stranger bypassrls", "warning"),
    Mutant("unbound_login", "programs", GROUP.format("pg_execute_server_program", "jf_app"), "warning"),
    Mutant("unbound_login", "files", "grant pg_read_server_files, pg_write_server_files to jf_app", "warning"),
    *(Mutant("standing_setting", setting, f"alter role jf_app set {setting}", "warning") for setting in (
        "row_security = off", "session_replication_role = replica", "default_transaction_read_only = on",
        "search_path = public, pg_catalog", "role = jobforge_app", "statement_timeout = 900", "statement_timeout = '1.5 s'")),
    *(Mutant("standing_setting", setting, f"alter role jf_app set {setting}", "note") for setting in (
        "search_path = shop, public", "search_path = pg_catalog, shop", "statement_timeout = 0",
        "statement_timeout = 30000", "statement_timeout = '1 min'", "timezone = 'UTC'", "app.mode = 'x=1'")),
    Mutant("standing_setting", "both", "do $$ begin execute format('alter role jf_worker in database %I set default_transaction_read_only = true', current_database()); end $$", "warning"),
    Mutant("standing_setting", "database", "do $$ begin execute format('alter database %I set row_security = off', current_database()); end $$", "warning"),
    Mutant("powerful_login", "replication", "alter role jf_admin replication", "warning"),
    Mutant("powerful_login", "monitor", "grant pg_monitor to jf_app", "warning"),
    Mutant("powerful_login", "stats", "grant pg_read_all_stats, pg_signal_backend to jf_worker", "warning"),
    Mutant("powerful_login", "by_a_group", GROUP.format("pg_monitor", "jf_app"), "warning"),
    Mutant("powerful_login", "checkpoint", "grant pg_checkpoint to jf_admin", "warning"),
    Mutant("powerful_login", "parameter", "grant set on parameter session_replication_role to jf_app", "warning"),
    Mutant("powerful_login", "parameter_of_all", "grant set, alter system on parameter session_preload_libraries to public", "warning"),
    Mutant("maker_login", "database", "do $$ begin execute format('alter database %I owner to jf_app', current_database()); end $$", "warning"),
    Mutant("maker_login", "schemas", "do $$ begin execute format('grant create on database %I to jobforge_worker', current_database()); end $$", "warning"),
    Mutant("maker_login", "schema", "create schema shop authorization jf_worker", "warning"),
    Mutant("maker_login", "public", "grant create on schema public to public", "warning"),
    Mutant("maker_login", "searched", "alter role jf_worker set search_path = pg_catalog, \"shop\"; create schema shop; grant create on schema shop to jf_admin", "warning", also=("standing_setting",)),
    Mutant("maker_login", "table", "create table public.orders (n int); alter table public.orders enable row level security; alter table public.orders owner to jf_app; grant select on public.orders to jf_admin", "warning"),
    Mutant("maker_login", "by_a_group", "create role jf_group nologin; grant jf_group to jf_app; create schema shop authorization jf_group", "warning", remedy_runs=False),
    *(Mutant("passing_grant", right, f"create table public.orders (n int); alter table public.orders enable row level security; grant {right} on public.orders to {holder}", "warning")
      for right, holder in (("all", "jf_app"), ("trigger", "jobforge_app"), ("truncate", "public"), ("trigger, truncate", "jf_worker"))),
]  # fmt: skip

ORDERS = "create table public.orders (tenant_id text, n int); alter table public.orders enable row level security; "
SIGNED_MUTANTS = [
    Mutant("temporary_objects", "public", "do $$ begin execute format('grant temporary on database %I to public', current_database()); end $$", "warning"),
    Mutant("temporary_objects", "role", "do $$ begin execute format('grant temporary on database %I to jobforge_app, jf_app', current_database()); end $$", "warning"),
    Mutant("plain_policy", "setting", ORDERS + "create policy t on public.orders using (tenant_id = current_setting('jobforge.tenant_id')) with check (tenant_id = current_setting('jobforge.tenant_id', true))"),
    Mutant("plain_policy", "selected", ORDERS + "create policy t on public.orders for select using (tenant_id = (select current_setting('jobforge.tenant_id', true)))"),
    Mutant("plain_policy", "insert", ORDERS + "create policy t on public.orders for insert with check (tenant_id = nullif(current_setting('jobforge.tenant_id', true), ''))"),
    Mutant("plain_policy", "claims", ORDERS + "create policy t on public.orders using (tenant_id = (current_setting('request.jwt.claims', true)::jsonb #>> '{app_metadata,tenant_id}'))"),
    Mutant("plain_policy", "function", ORDERS + "create function public.mine() returns text language sql as $$ select current_setting('jobforge.tenant_id', true) $$; create policy t on public.orders using (tenant_id = public.mine())"),
    Mutant("setting_policy", "other", ORDERS + "create policy t on public.orders using (tenant_id = current_setting('app.tenant', true)) with check (tenant_id = (select jobforge.current_tenant()))", "warning"),
    Mutant("setting_policy", "parts", ORDERS + "create policy t on public.orders using (tenant_id = current_setting(concat('jobforge', '.', 'tenant_id')))", "warning"),
    Mutant("setting_policy", "alternative", ORDERS + "create policy t on public.orders for select using (tenant_id = (select jobforge.current_tenant()) or current_setting('app.admin', true) = 'on')", "warning"),
    Mutant("setting_policy", "function", ORDERS + "create function public.mine() returns text language sql as $$ select current_setting('app.tenant', true) $$; create policy t on public.orders for insert with check (tenant_id = public.mine())", "warning"),
    Mutant("setting_policy", "comment", ORDERS + "create function public.mine() returns text language sql as $$ select current_setting('app.tenant', true) -- not jobforge.current_tenant()\n $$; create policy t on public.orders using (tenant_id = public.mine())", "warning"),
    Mutant("setting_policy", "jwt", "create schema auth; create function auth.jwt() returns jsonb language sql as $$ select null::jsonb $$; " + ORDERS + "create policy t on public.orders using (tenant_id = auth.jwt() ->> 'tenant_id')", "warning"),
]  # fmt: skip

MINE = "tenant_id = (select jobforge.current_tenant())"
KEPT = (
    ORDERS
    + f"alter table public.orders force row level security; create policy t on public.orders using ({MINE}) with check ({MINE}); "
)
APPLICATION_MUTANTS = [
    Mutant("bypassed_table", "disabled", f"create table public.orders (tenant_id text); create policy t on public.orders using ({MINE})", "warning"),
    Mutant("bypassed_table", "not_forced", KEPT + "alter table public.orders no force row level security", "warning"),
    Mutant("loose_policy", "true", KEPT + "create policy extra on public.orders for select using (true)", "warning"),
    Mutant("loose_policy", "check", KEPT + f"create policy extra on public.orders to jobforge_app using ({MINE}) with check (true)", "warning"),
    Mutant("loose_policy", "login", KEPT + "create policy extra on public.orders to jf_worker using (n = 1)", "warning"),
    Mutant("loose_policy", "wall_of_reads", KEPT + f"create policy wall on public.orders as restrictive for select using ({MINE}); create policy extra on public.orders using (true)", "warning"),
    Mutant("bypassing_view", "superuser", KEPT + "create view public.extra as select * from public.orders; grant select on public.extra to jf_app", "warning"),
    Mutant("bypassing_view", "of_a_view", KEPT + "create view public.inside with (security_invoker) as select * from public.orders; create view public.extra as select * from public.inside; grant select on public.extra to public", "warning"),
    Mutant("bypassing_view", "owner", KEPT + "alter table public.orders no force row level security; alter table public.orders owner to jf_stranger; create view public.extra as select * from public.orders; alter view public.extra owner to jf_stranger; grant select on public.extra to jf_app", "warning", also=("bypassed_table",)),
    Mutant("bypassing_view", "column", KEPT + "create view public.extra as select * from public.orders; grant select (n) on public.extra to jf_app", "warning"),
    Mutant("bypassing_view", "materialized", KEPT + "create materialized view public.extra as select * from public.orders; grant select on public.extra to jf_app", "warning"),
]  # fmt: skip
APART = {"orphaned_transaction"}  # needs a server that allows prepared transactions


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Database]:
    with one_database(admin_url, template) as database:
        yield database


@contextmanager
def undone(database: Database) -> Iterator[sa.Connection]:
    """A superuser's transaction that never commits."""
    engine = sa.create_engine(database.url(), poolclass=sa.NullPool)
    with engine.connect() as connection:
        doctor.pin(connection)
        yield connection
        connection.rollback()


def close(connection: sa.Connection) -> None:
    """Let only the logins in that have one purpose; no other test's, for they are the whole cluster's."""
    name = connection.scalar(sa.text("select quote_ident(current_database())"))
    run(connection, f"revoke connect, temporary on database {name} from public")
    run(connection, f"grant connect on database {name} to jf_app, jf_worker, jf_admin, jf_stranger")


def run(connection: sa.Connection, sql: str) -> None:
    if sql:
        connection.exec_driver_sql(sql, execution_options={"no_parameters": True})


def found(
    connection: sa.Connection, checks: tuple[Check, ...], login: str, mutant: Mutant | None = None
) -> list[Finding]:
    """What a login finds, whoever the connection was before."""
    run(connection, f"reset role; set local session authorization {login}")
    findings: list[Finding] = []
    for check in checks:
        query = check.query.replace(*mutant.swap) if mutant and mutant.check == check.name else check.query
        findings += doctor.run(connection, Check(check.name, check.why, query))
    run(connection, "reset session authorization")
    return findings


@pytest.mark.parametrize("login", ["postgres", "jf_stranger"])
@pytest.mark.parametrize("revision", HISTORY)
def test_the_schema_is_sound_at_each_revision_up_and_down(
    template: str, bare_database: Database, revision: str, login: str
) -> None:
    before = HISTORY[HISTORY.index(revision) - 1] if revision != HISTORY[0] else "base"
    with bare_database.engine().connect() as connection:
        for move, to in (
            (migrate.upgrade, revision),
            (migrate.downgrade, before),
            (migrate.upgrade, revision),
            (migrate.upgrade, "head"),
        ):
            move(connection, to)
            doctor.pin(connection)
            assert found(connection, SCHEMA, login) == [], f"after {move.__name__} to {to}"
            if to != "base":
                assert doctor_drift.closest(connection) == (HISTORY[-1] if to == "head" else to)
                assert doctor_drift.find(connection, doctor_drift.closest(connection)) == []


@pytest.mark.parametrize("login", ["jf_app", "jf_worker", "jf_admin"])
def test_the_connection_of_a_login_for_one_purpose_is_sound(shared: Database, login: str) -> None:
    with undone(shared) as connection:
        close(connection)
        assert found(connection, (*CONNECTION, *LOGINS, *APPLICATION, *SIGNED), login) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_fault_of_the_schema_is_found_by_its_check_alone_and_cured_by_its_remedy(
    shared: Database, mutant: Mutant
) -> None:
    with undone(shared) as connection:
        run(connection, mutant.sql)
        findings = found(connection, SCHEMA, mutant.login, mutant)
        assert {(one.name, one.level) for one in findings if one.name not in mutant.also} == {
            (mutant.check, mutant.level)
        }, findings
        assert {one.name for one in findings} == {mutant.check, *mutant.also}
        cured(connection, SCHEMA, mutant, findings)


@pytest.mark.parametrize("mutant", CONNECTION_MUTANTS, ids=str)
def test_a_fault_of_the_connection_is_found_by_its_check_alone_and_cured_by_its_remedy(
    shared: Database, mutant: Mutant
) -> None:
    beside = sa.create_engine(shared.url(mutant.login), poolclass=sa.NullPool)
    with beside.connect() as other, undone(shared) as connection:
        if mutant.beside:
            other.exec_driver_sql("rollback")
            run(other, mutant.beside)
        run(connection, "rollback; begin")  # it is younger than what stands beside it
        doctor.pin(connection)
        run(connection, f"revoke connect on database {shared.name} from public")
        run(connection, mutant.sql)
        findings = found(connection, CONNECTION, mutant.login, mutant)
        assert {(one.name, one.level) for one in findings} == {(mutant.check, mutant.level)}, findings
        cured(connection, CONNECTION, mutant, findings)


@pytest.mark.parametrize("looker", ["jf_app", "postgres"])
@pytest.mark.parametrize("mutant", [*LOGIN_MUTANTS, *SIGNED_MUTANTS, *APPLICATION_MUTANTS], ids=str)
def test_a_fault_of_a_login_an_application_or_of_signed_tenancy_is_found_whoever_looks(
    shared: Database, mutant: Mutant, looker: str
) -> None:
    group = next(checks for checks in (LOGINS, SIGNED, APPLICATION) if mutant.check in {one.name for one in checks})
    mutant = replace(mutant, login=looker)
    with undone(shared) as connection:
        close(connection)
        assert found(connection, group, looker) == []
        run(connection, mutant.sql)
        findings = found(connection, group, looker, mutant)
        if mutant.check == "unbound_login" and "role jf_app bypassrls" in mutant.sql and looker == "jf_app":
            assert findings == []  # of itself row_security_inactive tells
            return
        told = [one for one in findings if one.name not in mutant.also]
        assert {(one.name, one.level) for one in told} == {(mutant.check, mutant.level)}, findings
        cured(connection, group, mutant, findings)


@pytest.mark.parametrize(
    "mutant", [one for one in LOGIN_MUTANTS if one.check in {"maker_login", "passing_grant"}], ids=str
)
def test_where_tenancy_is_signed_a_way_around_it_is_an_error(shared: Database, mutant: Mutant) -> None:
    (check,) = (one for one in LOGINS if one.name == mutant.check)
    with undone(shared) as connection:
        close(connection)
        run(connection, mutant.sql)
        found_so = {one.level for one in doctor.run(connection, check, signed=True)}
    assert found_so == {Level.WARNING if mutant.variant == "truncate" else Level.ERROR}


@pytest.mark.parametrize(
    "sql",
    [
        "alter role jf_stranger set row_security = off",
        "create role jf_nobody login bypassrls",
        "grant pg_monitor, pg_signal_backend to jf_admin",
        "grant pg_monitor to jf_stranger; alter role jf_stranger replication; grant create on schema public to jf_stranger",
        "create schema shop; grant create on schema shop to jf_app",  # nobody searches there
        "create schema shop authorization jf_stranger; create table shop.orders (n int); alter table shop.orders owner to jf_stranger",
        "create table public.orders (n int); alter table public.orders enable row level security; grant select, insert, update, delete, references on public.orders to jf_app; grant all on public.orders to jf_stranger",
        "create table public.orders (n int); grant all on public.orders to jf_app",
        "grant jobforge_app, jobforge_admin to jf_one with admin option",  # it may not connect
    ],
)
def test_what_is_right_for_a_login_is_no_fault(shared: Database, sql: str) -> None:
    with undone(shared) as connection:
        close(connection)
        run(connection, sql)
        assert found(connection, LOGINS, "jf_app") == []


@pytest.mark.parametrize(
    "sql",
    [
        "create view public.extra with (security_invoker) as select * from jobforge.all_jobs; grant select on public.extra to public",
        "grant create on schema public to jf_app; set local role jf_app; create view public.extra as select * from jobforge.jobs; grant select on public.extra to public",
        "create function public.extra() returns text language sql security definer as $$ select id::text from jobforge.enqueue_job('t') $$",
        "create function public.extra() returns bigint language sql as 'select count(*) from jobforge.jobs'",
        "revoke usage on schema jobforge from jobforge_app; grant usage on schema jobforge to jf_app",  # docs/security.md
        "grant jobforge_owner to jf_stranger; grant usage on schema jobforge to jf_stranger",  # a migrator's, the same page
        "create table public.orders (tenant_id text); alter table public.orders enable row level security, force row level security; create policy t on public.orders using (tenant_id = (select jobforge.current_tenant()))",
        KEPT
        + f"create policy own on public.orders as restrictive using (n = current_setting('app.user')::int); create policy mine on public.orders using ({MINE} and n = current_setting('app.user')::int)",
        KEPT
        + "create policy ops on public.orders to jf_stranger using (true); create policy none on public.orders for delete using (false)",
        KEPT
        + f"drop policy t on public.orders; create policy wall on public.orders as restrictive using ({MINE}); create policy all_of_it on public.orders using (true)",
        KEPT
        + "create function public.mine() returns text language sql as 'select jobforge.current_tenant()'; create policy more on public.orders using (tenant_id = public.mine())",
        KEPT
        + "alter table public.orders owner to jf_stranger; create view public.extra as select * from public.orders; alter view public.extra owner to jf_stranger; grant select on public.extra to jf_app",
        KEPT
        + "create view public.extra with (security_invoker) as select * from public.orders; grant select on public.extra to public; create view public.private as select * from public.orders; grant select on public.private to jf_app; revoke select on public.private from jf_app",
        "create schema shop; create table shop.loose (n int); alter table shop.loose enable row level security; create policy p on shop.loose using (true)",
    ],
)
def test_what_reaches_in_behind_the_policies_is_no_fault(shared: Database, sql: str) -> None:
    with undone(shared) as connection:
        close(connection)
        run(connection, sql)
        assert found(connection, (*SCHEMA, *APPLICATION, *SIGNED), "jf_admin") == []
        run(connection, "reset role")
        assert doctor_drift.find(connection, HISTORY[-1]) == []


@pytest.mark.parametrize(
    "sql",
    [
        "grant execute on all functions in schema jobforge to public",
        "grant execute on all functions in schema jobforge to jf_stranger",
        "grant delete on all tables in schema jobforge to jobforge_worker",
    ],
)
def test_one_grant_is_one_finding(shared: Database, sql: str) -> None:
    with undone(shared) as connection:
        run(connection, sql)
        (finding,) = found(connection, SCHEMA, "jf_app")
        (difference,) = doctor_drift.find(connection, HISTORY[-1]) or []
    assert len(finding.object + finding.detail) < 300
    assert len(difference.objects) > 10
    assert len(difference.where + difference.detail) < 300


def test_the_cure_of_a_readable_token_gives_nothing_that_was_not_held(shared: Database) -> None:
    with undone(shared) as connection:
        run(connection, "grant select on jobforge.attempts to jobforge_worker")
        (finding,) = found(connection, SCHEMA, "jf_stranger")
        run(connection, finding.remedy)
        assert doctor_drift.find(connection, HISTORY[-1]) == []


def test_the_cure_of_a_readable_token_leaves_the_other_columns_readable(shared: Database) -> None:
    may = sa.text("select has_column_privilege('jobforge_app', 'jobforge.attempts', :name, 'select')")
    with undone(shared) as connection:
        run(connection, "grant select on jobforge.attempts to jobforge_app")
        (finding,) = found(connection, SCHEMA, "jf_stranger")
        run(connection, finding.remedy)
        assert connection.scalar(may, {"name": "token"}) is False
        assert connection.scalar(may, {"name": "error"}) is True


def test_the_cure_of_a_maker_leaves_it_what_it_uses(shared: Database) -> None:
    with undone(shared) as connection:
        close(connection)
        run(connection, f"alter database {shared.name} owner to jf_app; create schema shop authorization jf_app")
        run(connection, "create table shop.orders (n int); alter table shop.orders enable row level security")
        run(connection, "create policy t on shop.orders using (true); alter table shop.orders owner to jf_app")
        (finding,) = found(connection, LOGINS, "jf_stranger")
        run(connection, finding.remedy)
        run(connection, "set local session authorization jf_app; insert into shop.orders values (1); reset role")
        assert connection.scalar(sa.text("select has_database_privilege(current_database(), 'connect')")) is True
        with pytest.raises(sa.exc.ProgrammingError, match="must be owner of table orders"):
            run(connection, "alter table shop.orders disable row level security")


def cured(connection: sa.Connection, checks: tuple[Check, ...], mutant: Mutant, findings: list[Finding]) -> None:
    """Do what the remedies say, and look again."""
    for finding in findings:
        assert finding.object
        assert finding.detail
        assert finding.remedy
        if mutant.remedy_runs and finding.name == mutant.check:
            run(connection, finding.remedy)
    if mutant.remedy_runs:
        left = [one for one in found(connection, checks, mutant.login, mutant) if one.name not in mutant.also]
        assert left == []


def test_each_check_has_a_mutant() -> None:
    assert {check.name for check in SCHEMA} == {mutant.check for mutant in MUTANTS}
    assert {check.name for check in CONNECTION} == {mutant.check for mutant in CONNECTION_MUTANTS} | APART
    assert {check.name for check in LOGINS} == {mutant.check for mutant in LOGIN_MUTANTS}
    assert {check.name for check in SIGNED} == {mutant.check for mutant in SIGNED_MUTANTS}
    assert {check.name for check in APPLICATION} == {mutant.check for mutant in APPLICATION_MUTANTS}


@pytest.mark.parametrize("check", [*SCHEMA, *CONNECTION, *LOGINS, *SIGNED, *APPLICATION], ids=lambda check: check.name)
def test_each_check_says_what_its_fault_allows(check: Check) -> None:
    assert len(check.why) > 80
    assert check.query.count(";") >= 1
    assert max(len(line) for line in check.query.splitlines()) <= 130


@pytest.mark.parametrize("number", ["150014", "160010", "170006", "180000"])
def test_a_server_with_the_cure_is_not_blamed(shared: Database, number: str) -> None:
    cured = Mutant("outdated_server", number, "", swap=(NUMBER, number))
    with undone(shared) as connection:
        close(connection)
        assert found(connection, CONNECTION, "jf_admin", cured) == []


def test_a_login_with_all_roles_hears_of_each_danger(shared: Database) -> None:
    with undone(shared) as connection:
        close(connection)
        run(connection, f"grant connect on database {shared.name} to jf_one")
        findings = found(connection, LOGINS, "jf_one")
    assert [(one.name, one.level) for one in findings] == [("shared_login", Level.WARNING)] * 2
    assert all("SQL injection" in one.detail for one in findings)


@pytest.fixture
def cluster() -> Iterator[EmbeddedServer]:
    """A server of its own, with a database "app"."""
    server = EmbeddedServer(settings={"max_prepared_transactions": "2"})
    try:
        server.start()
    except ServerError as error:
        pytest.skip(f"needs a server of its own: {error}")
    engine = sa.create_engine(server.url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("create database app")
    yield server
    server.stop()


def test_what_a_migrator_that_is_no_superuser_made_is_sound(cluster: EmbeddedServer) -> None:
    superuser = sa.create_engine(cluster.url_for("app"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with superuser.connect() as connection:
        run(connection, "create role migrator login createrole; alter database app owner to migrator")
    engine = sa.create_engine(cluster.url_for("app", "migrator"), poolclass=sa.NullPool)
    migrate.upgrade(engine)

    assert [one for one in doctor.examine(engine).findings if one.level != Level.UNSEEN] == []
    with superuser.connect() as connection:
        run(connection, "alter role migrator bypassrls")
    assert of_logins(superuser) == []  # ADMIN OPTION on the roles that it made is no membership


def test_the_set_up_of_the_security_page_is_sound(cluster: EmbeddedServer) -> None:
    """A migrator, a login for each purpose, tables of the application, signed tenancy: nobody hears a word."""
    superuser = sa.create_engine(cluster.url_for("app"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with superuser.connect() as connection:
        run(connection, "create role migrator login createrole; alter database app owner to migrator")
        run(connection, "grant pg_read_all_stats to migrator")
    engine = sa.create_engine(cluster.url_for("app", "migrator"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        run(connection, "revoke connect, temporary on database app from public; create schema shop")
        run(connection, "set role jobforge_owner; grant usage on schema jobforge to migrator; reset role")
        for login, role in (("shop_web", "app"), ("shop_worker", "worker"), ("shop_ops", "admin")):
            run(connection, f"create role {login} login; grant jobforge_{role} to {login}")
            run(connection, f"grant connect on database app to {login}; grant usage on schema shop to {login}")
        run(
            connection,
            KEPT.replace("public.", "shop.")
            + "create view shop.open with (security_invoker) as select * from shop.orders",
        )
        run(connection, "grant select, insert, update, delete on all tables in schema shop to shop_web")
        run(connection, "set role jobforge_owner")
        run(connection, f"select jobforge.add_tenant_key('k1', '\\x{'ab' * 32}')")
        run(connection, "select jobforge.use_tenancy('signed')")

    for login in ("migrator", "shop_web", "shop_worker", "shop_ops"):
        report = doctor.examine(sa.create_engine(cluster.url_for("app", login), poolclass=sa.NullPool))
        assert [one for one in report.findings if one.level != Level.UNSEEN] == [], login


def of_logins(engine: sa.Engine) -> list[Finding]:
    with engine.connect() as connection:
        doctor.pin(connection)
        return [one for check in LOGINS for one in doctor.run(connection, check)]


def test_a_migrator_that_gave_itself_the_applications_roles_is_told_how_to_give_them_back(
    cluster: EmbeddedServer,
) -> None:
    """Its hold on the roles that it made stands on grants of its own: the cure leaves what a migration needs."""
    superuser = sa.create_engine(cluster.url_for("app"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with superuser.connect() as connection:
        run(connection, "create role migrator login createrole; alter database app owner to migrator")
    engine = sa.create_engine(cluster.url_for("app", "migrator"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        run(connection, "grant jobforge_app, jobforge_worker to migrator")

    for looker in (superuser, engine):
        assert [(one.name, one.level) for one in of_logins(looker)] == [
            ("maker_login", Level.WARNING),
            ("owner_login", Level.WARNING),
        ]
    (finding,) = (one for one in of_logins(engine) if one.name == "owner_login")
    with engine.connect() as connection:
        run(connection, finding.remedy)
    assert of_logins(superuser) == []
    migrate.downgrade(engine, "base")
    migrate.upgrade(engine)


def test_a_migrator_that_inherits_the_owner_is_told_to_borrow_it(cluster: EmbeddedServer) -> None:
    if cluster.installation.major < 16:
        pytest.skip("before Postgres 16 each grant is inherited, and nothing can be said of it")
    superuser = sa.create_engine(cluster.url_for("app"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    migrate.upgrade(superuser)
    with superuser.connect() as connection:
        run(connection, "create role migrator login; grant jobforge_owner to migrator")

    (finding,) = of_logins(superuser)
    assert (finding.name, finding.level, finding.object) == ("owner_login", Level.NOTE, "login migrator")
    with superuser.connect() as connection:
        run(connection, finding.remedy)
    assert of_logins(superuser) == []
    migrate.upgrade(sa.create_engine(cluster.url_for("app", "migrator"), poolclass=sa.NullPool))


def test_fault_026_a_prepared_transaction_that_nobody_ended_is_found(cluster: EmbeddedServer) -> None:
    engine = sa.create_engine(cluster.url_for("app"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    migrate.upgrade(engine)
    with engine.connect() as connection:
        run(connection, "begin; select set_config('jobforge.tenant_id', 'a', true)")
        run(connection, "select jobforge.enqueue_job('t', p_notify => false)")
        run(connection, "prepare transaction 'it''s lost'")
    (check,) = (one for one in CONNECTION if one.name == "orphaned_transaction")
    for restart in (False, True):
        if restart:
            cluster.restart()
        with engine.connect() as connection:
            run(connection, "set search_path = pg_catalog, pg_temp")
            (finding,) = doctor.run(connection, check)
            assert finding.level == Level.NOTE  # it may yet be ended: it is not a minute old
            assert "jobs, limits, ready" in finding.detail
    with engine.connect() as connection:
        run(connection, finding.remedy)
        assert doctor.run(connection, check) == []
