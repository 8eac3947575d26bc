"""The tenant of a transaction: a policy in the database, for every role, table and function."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from tests.support import Connection, Sql, call, one_database, refused

TABLES = ["jobs", "ready", "scheduled", "outcomes", "cancel_requests", "idempotency_keys", "all_jobs"]
COLUMNS = {"leases": "job_id, tenant_id, run, deadline", "attempts": "job_id, tenant_id, outcome, error"}


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Sql]:
    with one_database(admin_url, template) as database, Sql(database) as sql:
        yield sql


@pytest.fixture
def sql(shared: Sql) -> Iterator[Sql]:
    """All jobs are the test's own."""
    shared.clean()
    yield shared
    shared.clean()


def claims(tenant: object, **more: object) -> str:
    return json.dumps({"app_metadata": {"tenant_id": tenant}, **more})


def context(connection: Connection, setting: str | None = None, jwt: str | None = None) -> Any:
    """The tenant of a fresh transaction with these settings."""
    with connection.transaction():
        for name, value in (("jobforge.tenant_id", setting), ("request.jwt.claims", jwt)):
            if value is not None:
                connection.execute("select set_config(%s, %s, true)", [name, value])
        return call(connection, "current_tenant")[0]["current_tenant"]


def everywhere(sql: Sql, tenant: str) -> None:
    """A job of the tenant in every table."""
    sql.enqueue(tenant, type_=tenant, idempotency_key="k")
    sql.complete(sql.claim_one(types=[tenant]))
    held = sql.enqueue(tenant, type_=tenant)
    sql.claim_one(types=[tenant])
    sql("cancel_job", tenant=tenant, job_id=held)
    sql.enqueue(tenant)
    sql.enqueue(tenant, delay=dt.timedelta(hours=1))


def tenants(connection: Connection, table: str) -> set[str]:
    rows = connection.execute(f"select {COLUMNS.get(table, '*')} from jobforge.{table}".encode()).fetchall()
    return {row["tenant_id"] for row in rows}


# --- which tenant ------------------------------------------------------------------------------------------


def test_the_tenant_is_the_setting_or_the_jwts_claim_or_none(shared: Sql) -> None:
    app = shared.session("jf_app")

    assert context(app) is None
    assert context(app, setting="") is None
    assert context(app, setting="a") == "a"
    assert context(app, jwt=claims("a")) == "a"
    assert context(app, jwt=claims(42)) == "42"
    assert context(app, setting="a", jwt=claims("a")) == "a"
    assert context(app, setting="a", jwt=json.dumps({"role": "x"})) == "a"
    for empty in ("", "{}", claims(None), claims(""), json.dumps({"user_metadata": {"tenant_id": "a"}})):
        assert context(app, jwt=empty) is None
        assert context(app, setting="a", jwt=empty if empty != claims("") else "") == "a"


@pytest.mark.parametrize("setting", [" ", "%", "' or 1=1 --", "a'b", 'a"b', "ü", "\U0001f600", "x" * 200])
def test_a_tenant_is_text_as_it_stands(sql: Sql, setting: str) -> None:
    mine = sql.enqueue(setting)
    other = sql.enqueue("~" + setting[1:])

    rows = sql("list_jobs", tenant=setting)
    assert [(row["id"], row["tenant_id"]) for row in rows] == [(mine, setting)]
    assert sql("get_job", tenant=setting, job_id=other) == []


def test_a_setting_and_a_claim_that_disagree_are_refused(shared: Sql) -> None:
    app = shared.session("jf_app")
    for setting, jwt in (("b", claims("a")), ("b", claims(1))):
        with refused("JF002", "different tenants"):
            context(app, setting, jwt)


@pytest.mark.parametrize("tenant", [[], ["a"], {}, {"a": 1}, True])
def test_a_claim_that_is_no_tenant_is_refused(shared: Sql, tenant: object) -> None:
    with refused("JF002", "app_metadata.tenant_id"):
        context(shared.session("jf_app"), jwt=claims(tenant))


@pytest.mark.parametrize("jwt", ["x", "{", "null x", '{"app_metadata": {"tenant_id": "\\u0000"}}'])
def test_claims_that_are_no_json_show_nothing(shared: Sql, jwt: str) -> None:
    with pytest.raises(psycopg.DataError):
        context(shared.session("jf_app"), jwt=jwt)


@pytest.mark.parametrize("jwt", ["null", "1", "[]", '"a"', '{"app_metadata": null}', '{"app_metadata": "a"}'])
def test_claims_of_another_shape_are_no_tenant(shared: Sql, jwt: str) -> None:
    assert context(shared.session("jf_app"), jwt=jwt) is None


def test_a_tenant_ends_with_its_transaction_and_a_savepoint_restores_it(sql: Sql) -> None:
    sql.enqueue("a")
    sql.enqueue("b")
    app = sql.connect("jf_app")
    assert tenants(app, "jobs") == set()
    app.execute("select set_config('jobforge.tenant_id', 'a', true)")
    assert tenants(app, "jobs") == {"a"}
    app.execute("savepoint s")
    app.execute("select set_config('jobforge.tenant_id', 'b', true)")
    assert tenants(app, "jobs") == {"b"}
    app.execute("rollback to s")
    assert tenants(app, "jobs") == {"a"}
    app.commit()
    assert tenants(app, "jobs") == set()
    with refused("JF001"):
        call(app, "enqueue_job", type="t")
    app.rollback()
    app.autocommit = True
    app.execute("select set_config('jobforge.tenant_id', 'a', true)")
    assert tenants(app, "jobs") == set()


def test_a_plan_that_was_kept_follows_each_change_of_the_tenant(sql: Sql) -> None:
    sql.fill("a", 1)
    sql.fill("b", 2)
    app = sql.session("jf_app")
    counted = []
    for n in range(12):
        with app.transaction():
            app.execute("select set_config('jobforge.tenant_id', %s, true)", ["ab"[n % 2]])
            (row,) = app.execute("select count(*) as n from jobforge.jobs", prepare=True).fetchall()
            counted.append(row["n"])

    assert counted == [1, 2] * 6


# --- the wall ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [*TABLES, *COLUMNS])
def test_a_tenant_sees_its_own_rows_of_every_table_and_nobody_sees_any_without_one(sql: Sql, table: str) -> None:
    for tenant in "ab":
        everywhere(sql, tenant)

    for tenant in "ab":
        assert tenants(sql.connect("jf_app", tenant=tenant), table) == {tenant}
        assert tenants(sql.connect("jf_one", tenant=tenant), table) == {tenant}
    for user in ("jf_app", "jf_one"):
        assert tenants(sql.session(user), table) == set()
    assert tenants(sql.connect("jf_admin"), table) == {"a", "b"}
    for user in ("jf_worker", "jf_stranger"):
        with refused("42501"):
            tenants(sql.session(user), table)


def test_the_wall_stands_when_somebody_adds_a_policy_that_shows_all(sql: Sql) -> None:
    for tenant in "ab":
        everywhere(sql, tenant)
    owner = sql.session("postgres")
    tables = [table for table in [*TABLES, *COLUMNS] if table != "all_jobs"]
    for table in tables:
        owner.execute(f"create policy rogue on jobforge.{table} to public using (true) with check (true)".encode())
    try:
        for table in tables:
            app = sql.connect("jf_app", tenant="a")
            assert tenants(app, table) == {"a"}
            app.commit()
            assert tenants(app, table) == set()
            app.rollback()
    finally:
        for table in tables:
            owner.execute(f"drop policy rogue on jobforge.{table}".encode())


def test_row_security_cannot_be_switched_off(sql: Sql) -> None:
    sql.enqueue("b")
    app = sql.connect("jf_app", tenant="a")
    app.execute("set local row_security = off")
    with refused("42501"):
        tenants(app, "jobs")


def test_a_leaky_function_in_a_filter_sees_the_tenants_own_rows_only(sql: Sql) -> None:
    for tenant in "ab":
        everywhere(sql, tenant)
    app = sql.connect("jf_app", tenant="a")
    notices: list[str] = []
    app.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    app.execute(
        "create function pg_temp.spy(text) returns boolean language plpgsql cost 0.000001 as "
        "$$ begin raise notice '%', $1; return true; end $$"
    )
    app.execute("select 1 from jobforge.jobs where pg_temp.spy(tenant_id)")
    app.execute("select 1 from jobforge.all_jobs where pg_temp.spy(tenant_id)")

    assert set(notices) == {"a"}


@pytest.mark.parametrize(
    "statement",
    [
        "select token from jobforge.leases",
        "select * from jobforge.leases",
        "select token from jobforge.attempts",
        "select * from jobforge.attempts",
        "select * from jobforge.workers",
        "select * from jobforge.jobs for update",
        "lock table jobforge.jobs",
        "copy jobforge.jobs from stdin",
        "create table jobforge.x (n int)",
        "create function jobforge.x() returns int language sql as 'select 1'",
        "alter table jobforge.jobs disable row level security",
        "create policy x on jobforge.jobs using (true)",
        "comment on table jobforge.jobs is 'x'",
        "set role jobforge_owner",
        "set role jobforge_worker",
        "set session authorization jf_worker",
        "alter role jf_app set jobforge.tenant_id = 'b'",
        "select jobforge.settle(null)",
        "select jobforge.cancel_now('b', gen_random_uuid())",
        "select jobforge.promote_due(1)",
        "select jobforge.keep_alive(gen_random_uuid(), '1 s')",
        "select * from jobforge.claim_jobs(gen_random_uuid(), '{default}', '{t}')",
        "select jobforge.rescue_expired_jobs()",
        "select * from jobforge.upkeep()",
        "select * from jobforge.heartbeat_jobs(gen_random_uuid())",
        "select * from jobforge.audit()",
        "select * from jobforge.alembic_version",
    ],
)
def test_the_app_is_refused_what_is_not_its_own(sql: Sql, statement: str) -> None:
    app = sql.connect("jf_app", tenant="a")
    with refused("42501"):
        app.execute(statement.encode())


def test_a_stranger_is_refused_all(sql: Sql) -> None:
    functions = sql.look(
        "select p.oid::regproc::text as name, pg_get_function_identity_arguments(p.oid) as arguments "
        "from pg_proc p where pronamespace = 'jobforge'::regnamespace"
    )
    assert len(functions) > 25
    stranger = sql.session("jf_stranger")
    for function in functions:
        arguments = ", ".join(["null"] * (function["arguments"].count(",") + bool(function["arguments"])))
        with refused("42501"):
            stranger.execute(f"select {function['name']}({arguments})".encode())


def test_definer_functions_are_not_led_astray_by_the_callers_own_names(sql: Sql) -> None:
    app = sql.connect("jf_app", tenant="a")
    for name in ("uuid", "text", "jsonb", "json", "interval", "timestamptz", "boolean"):
        app.execute(f"create domain pg_temp.{name} as pg_catalog.text check (value is null)".encode())
    for table in ("jobs", "ready", "idempotency_keys"):
        app.execute(f"create table pg_temp.{table} (n int)".encode())
    app.execute(
        "create function pg_temp.now() returns timestamptz language sql as 'select null::pg_catalog.timestamptz'"
    )
    app.execute("set local search_path = pg_temp, pg_catalog")
    row = app.execute("select * from jobforge.enqueue_job('t', p_idempotency_key => 'k')").fetchone()
    app.commit()

    assert row is not None
    assert sql.state(row["id"]) == "queued"


def test_functions_hold_for_a_superuser_too(sql: Sql) -> None:
    theirs = sql.enqueue("b")
    for function in ("cancel_job", "retry_job", "reschedule_job", "get_job"):
        assert sql(function, user="postgres", tenant="a", job_id=theirs) == []
    assert sql("list_jobs", user="postgres", tenant="a") == []
    with refused("JF001"):
        sql("enqueue_job", user="postgres", type="t")


def test_every_function_pins_its_search_path_and_has_a_comment(shared: Sql) -> None:
    rows = shared.look(
        "select oid::regproc::text as name, proconfig as settings, obj_description(oid, 'pg_proc') as said, "
        "prosecdef as definer from pg_proc where pronamespace = 'jobforge'::regnamespace"
    )
    assert len(rows) > 25
    for row in rows:
        assert "search_path=pg_catalog, pg_temp" in (row["settings"] or []), row
        assert row["said"], row


def test_every_table_forces_row_level_security(shared: Sql) -> None:
    rows = shared.look(
        "select relname, relrowsecurity and relforcerowsecurity as walled from pg_class "
        "where relnamespace = 'jobforge'::regnamespace and relkind = 'r'"
    )
    assert len(rows) == 13
    assert [row["relname"] for row in rows if not row["walled"]] == []
