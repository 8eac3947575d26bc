"""Cases 1 to 34: a tenant against another one. The numbers are those of docs/security-cases.md."""

from __future__ import annotations

import datetime as dt
import json
import re
import uuid
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.types.json import Json
from pydantic import BaseModel
from sqlalchemy.orm import Session, joinedload

from jobforge_sa import AsyncContext, Context, JobForge, Jobs, Worker, bind_tenant
from jobforge_sa.errors import TenantConflict
from jobforge_sa.models import Attempt, Job
from tests.house.source import python_files
from tests.security.guard import Attack
from tests.support import Connection, call, refused, wait_for

TABLES = ["jobs", "ready", "scheduled", "outcomes", "cancel_requests", "idempotency_keys", "all_jobs"]
COLUMNS = {"leases": "job_id, tenant_id, run, deadline", "attempts": "job_id, tenant_id, outcome, error"}
HOUR = dt.timedelta(hours=1)


class Number(BaseModel):
    n: int


def claims(tenant: object, **more: object) -> str:
    return json.dumps({"app_metadata": {"tenant_id": tenant}, **more})


def context(connection: Connection, setting: str | None = None, jwt: str | None = None) -> Any:
    """The tenant of a fresh transaction with these settings."""
    with connection.transaction():
        settle(connection, setting, jwt)
        return call(connection, "current_tenant")[0]["current_tenant"]


def settle(connection: Connection, setting: str | None, jwt: str | None) -> None:
    for name, value in (("jobforge.tenant_id", setting), ("request.jwt.claims", jwt)):
        if value is not None:
            connection.execute("select set_config(%s, %s, true)", [name, value])


def everywhere(attack: Attack, tenant: str) -> uuid.UUID:
    """A job of the tenant in every table; gives one that has an attempt."""
    ended = attack.enqueue(tenant, type_=tenant, idempotency_key="k")
    attack.complete(attack.claim_one(types=[tenant]), "failed", final=True, error={"message": f"of {tenant}"})
    held = attack.enqueue(tenant, type_=tenant)
    attack.claim_one(types=[tenant])
    attack("cancel_job", tenant=tenant, job_id=held)
    attack.enqueue(tenant)
    attack.enqueue(tenant, delay=HOUR)
    return ended


def tenants(connection: Connection, table: str) -> set[str]:
    rows = connection.execute(f"select {COLUMNS.get(table, '*')} from jobforge.{table}".encode()).fetchall()
    return {row["tenant_id"] for row in rows}


# --- what is seen ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", [*TABLES, *COLUMNS])
def test_case_001_002_003_a_tenant_sees_its_own_rows_of_every_table_and_nobody_sees_any_without_one(
    attack: Attack, table: str
) -> None:
    for tenant in "ab":
        everywhere(attack, tenant)

    for tenant in "ab":
        assert tenants(attack.connect("jf_app", tenant=tenant), table) == {tenant}
        assert tenants(attack.connect("jf_one", tenant=tenant), table) == {tenant}
    for user in ("jf_app", "jf_one"):
        assert tenants(attack.session(user), table) == set()  # never set in this session, or over with a transaction
        assert tenants(attack.connect(user), table) == set()
        assert tenants(attack.connect(user, tenant=""), table) == set()
    assert tenants(attack.connect("jf_admin"), table) == {"a", "b"}
    for user in ("jf_worker", "jf_stranger"):
        with refused("42501"):
            tenants(attack.session(user), table)


@pytest.mark.parametrize(
    "setting",
    [
        " ",
        "%",
        "x",
        "' or 1=1 --",
        "a'b",
        'a"b',
        "ü",
        "\U0001f600",
        "x" * 200,
        "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
    ],
)
def test_case_004_005_a_tenant_is_text_as_it_stands(attack: Attack, setting: str) -> None:
    mine = attack.enqueue(setting)
    others = [attack.enqueue(other) for other in ("~" + setting[1:], setting.swapcase()[:-1] + "~")]

    rows = attack("list_jobs", tenant=setting)
    assert [(row["id"], row["tenant_id"]) for row in rows] == [(mine, setting)]
    for other in others:
        assert attack("get_job", tenant=setting, job_id=other) == []
    assert tenants(attack.connect("jf_app", tenant=setting), "all_jobs") == {setting}


def test_case_004_a_tenant_that_is_too_long_sees_nothing_and_writes_nothing(attack: Attack) -> None:
    attack.enqueue("x" * 200)
    app = attack.connect("jf_app", tenant="x" * 201)
    assert tenants(app, "jobs") == set()
    with refused("JF003", "200"):
        call(app, "enqueue_job", type="t")


def test_case_006_007_008_a_tenant_ends_with_its_transaction_and_a_savepoint_restores_it(attack: Attack) -> None:
    attack.enqueue("a")
    attack.enqueue("b")
    app = attack.connect("jf_app")
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


# --- the claims of a JWT -----------------------------------------------------------------------------------


def test_case_009_010_the_tenant_is_the_setting_or_the_jwts_claim_and_never_what_users_may_write(
    attack: Attack,
) -> None:
    app = attack.session("jf_app")
    assert context(app) is None
    assert context(app, setting="") is None
    assert context(app, setting="a") == "a"
    assert context(app, jwt=claims("a")) == "a"
    assert context(app, jwt=claims(42)) == "42"
    assert context(app, setting="a", jwt=claims("a")) == "a"
    assert context(app, setting="a", jwt=json.dumps({"role": "x"})) == "a"
    users: list[dict[str, Any]] = [
        {"user_metadata": {"tenant_id": "a"}},
        {"tenant_id": "a"},
        {"user_metadata": {"app_metadata": {"tenant_id": "a"}}},
    ]
    for empty in ("", "{}", claims(None), claims(""), *map(json.dumps, users)):
        assert context(app, jwt=empty) is None
        assert context(app, setting="a", jwt=empty if empty != claims("") else "") == "a"

    attack.enqueue("a")
    attack.enqueue("b")
    for jwt, seen in ((claims("a"), {"a"}), (json.dumps(users[0]), set()), (claims("b", **users[0]), {"b"})):
        with app.transaction():
            settle(app, None, jwt)
            assert tenants(app, "jobs") == seen


@pytest.mark.parametrize("tenant", [[], ["a"], {}, {"a": 1}, True])
def test_case_011_a_claim_that_is_no_tenant_is_refused(attack: Attack, tenant: object) -> None:
    with refused("JF002", "app_metadata.tenant_id"):
        context(attack.session("jf_app"), jwt=claims(tenant))


@pytest.mark.parametrize("jwt", ["x", "{", "null x", '{"app_metadata": {"tenant_id": "\\u0000"}}'])
def test_case_011_claims_that_are_no_json_show_nothing(attack: Attack, jwt: str) -> None:
    attack.enqueue("a")
    with pytest.raises(psycopg.DataError):
        context(attack.session("jf_app"), jwt=jwt)
    app = attack.session("jf_app")
    app.execute("begin")
    settle(app, "a", jwt)
    with pytest.raises(psycopg.DataError):
        tenants(app, "jobs")
    app.execute("rollback")


@pytest.mark.parametrize("jwt", ["null", "1", "[]", '"a"', '{"app_metadata": null}', '{"app_metadata": "a"}'])
def test_case_011_claims_of_another_shape_are_no_tenant(attack: Attack, jwt: str) -> None:
    assert context(attack.session("jf_app"), jwt=jwt) is None


@pytest.mark.parametrize(("setting", "jwt"), [("b", claims("a")), ("b", claims(1)), ("A", claims("a"))])
def test_case_012_a_setting_and_a_claim_that_disagree_are_refused(attack: Attack, setting: str, jwt: str) -> None:
    attack.enqueue(setting)
    app = attack.session("jf_app")
    with refused("JF002", "different tenants"):
        context(app, setting, jwt)
    for work in (
        lambda: tenants(app, "jobs"),
        lambda: call(app, "list_jobs"),
        lambda: call(app, "enqueue_job", type="t"),
    ):
        with refused("JF002"), app.transaction():
            settle(app, setting, jwt)
            work()


def test_case_013_claims_without_a_tenant_enqueue_nothing(attack: Attack) -> None:
    app = attack.session("jf_app")
    for jwt in ("", "{}", claims(None), claims(""), json.dumps({"user_metadata": {"tenant_id": "a"}})):
        with refused("JF001", "set_config"), app.transaction():
            settle(app, None, jwt)
            call(app, "enqueue_job", type="t")
    with app.transaction():
        settle(app, None, claims("a"))
        assert call(app, "enqueue_job", type="t")[0]["created"]

    assert [row["tenant_id"] for row in attack.look("select tenant_id from jobforge.jobs")] == ["a"]


# --- what is written ---------------------------------------------------------------------------------------


def test_case_014_without_a_tenant_nothing_is_enqueued_and_the_error_says_how_to_set_one(attack: Attack) -> None:
    for tenant in (None, ""):
        with refused("JF001", "set_config"):
            attack("enqueue_job", tenant=tenant, type="t")
        with refused("JF001", "set_config"):
            attack("enqueue_jobs", tenant=tenant, jobs=Json([{"type": "t"}]))
    with refused("JF001"):
        attack("enqueue_job", type="t", tenant_id="a")  # an argument repeats the context, it does not replace it

    assert attack.look("select 1 from jobforge.jobs") == []


@pytest.mark.parametrize("user", ["jf_app", "jf_admin", "jf_one"])
def test_case_015_an_enqueue_for_another_tenant_is_refused(attack: Attack, user: str) -> None:
    assert attack("enqueue_job", user=user, tenant="a", type="t", tenant_id="a")[0]["created"]
    for other in ("b", "", "A", "a "):
        with refused("JF002"):
            attack("enqueue_job", user=user, tenant="a", type="t", tenant_id=other)
        with refused("JF002"):
            attack("enqueue_jobs", user=user, tenant="a", jobs=Json([{"type": "t"}]), tenant_id=other)
        with refused("JF002"):
            attack("enqueue_jobs", user=user, tenant="a", jobs=Json([{"type": "t"}, {"type": "t", "tenant_id": other}]))

    assert [row["tenant_id"] for row in attack.look("select tenant_id from jobforge.jobs")] == ["a"]


@pytest.mark.parametrize("function", ["cancel_job", "retry_job", "reschedule_job", "get_job"])
@pytest.mark.parametrize("user", ["jf_app", "jf_admin", "jf_one"])
def test_case_016_another_tenants_job_looks_like_one_that_never_was(attack: Attack, function: str, user: str) -> None:
    dead, running = attack.enqueue("b"), attack.enqueue("b")
    for run in attack.claim(2):
        if run["job_id"] == dead:
            attack.complete(run, "failed", final=True)
    theirs = [attack.enqueue("b"), attack.enqueue("b", delay=HOUR), dead, running]
    before = [attack.job(job) for job in theirs]
    said = [attack(function, user=user, tenant="a", job_id=job) for job in [*theirs, uuid.uuid4(), None]]

    assert said == [[]] * 6
    assert [attack.job(job) for job in theirs] == before
    assert attack.look("select 1 from jobforge.cancel_requests") == []


def test_case_017_018_a_key_is_of_one_tenant_and_one_type(attack: Attack) -> None:
    given = [("a", "t"), ("b", "t"), ("a", "u"), ("b", "u")]
    ids = {pair: attack.enqueue(*pair, idempotency_key="k") for pair in given}

    assert len(set(ids.values())) == 4
    for (tenant, kind), job in ids.items():
        (again,) = attack("enqueue_job", tenant=tenant, type=kind, idempotency_key="k", payload={"other": True})
        assert again == {"id": job, "created": False, "payload_differs": True}
        (bulk,) = attack("enqueue_jobs", tenant=tenant, jobs=Json([{"type": kind, "idempotency_key": "k"}]))
        assert (bulk["id"], bulk["created"], bulk["payload_differs"]) == (job, False, False)


def test_case_019_nobody_chooses_an_id(attack: Attack) -> None:
    theirs = attack.enqueue("b", payload={"n": 1})
    for name in ("id", "job_id"):
        given: dict[str, Any] = {name: theirs}
        with refused("42883"):
            attack("enqueue_job", tenant="a", type="t", **given)
    (said,) = attack("enqueue_jobs", tenant="a", jobs=Json([{"type": "t", "id": str(theirs), "job_id": str(theirs)}]))

    assert said["created"]
    assert said["id"] != theirs
    assert (attack.job(theirs)["tenant_id"], attack.job(theirs)["payload"]) == ("b", {"n": 1})
    (child,) = attack("enqueue_job", tenant="a", type="t", parent_id=theirs)  # a parent is a note, and opens nothing
    assert tenants(attack.connect("jf_app", tenant="a"), "all_jobs") == {"a"}
    assert attack("get_job", tenant="b", job_id=child["id"]) == []


def test_case_020_a_plan_that_was_kept_follows_each_change_of_the_tenant_and_of_the_role(attack: Attack) -> None:
    attack.fill("a", 1)
    attack.fill("b", 2)
    app = attack.session("jf_one")
    app.execute("set plan_cache_mode = force_generic_plan")
    counted = []
    for tenant, role in [
        ("a", "none"),
        ("b", "none"),
        ("a", "jobforge_admin"),
        ("", "none"),
        ("b", "jobforge_app"),
    ] * 3:
        with app.transaction():
            app.execute(
                "select set_config('jobforge.tenant_id', %s, true), set_config('role', %s, true)", [tenant, role]
            )
            (row,) = app.execute("select count(*) as n from jobforge.jobs", prepare=True).fetchall()
            counted.append(row["n"])
    app.execute("reset plan_cache_mode")

    assert counted == [1, 2, 3, 0, 2] * 3


def test_case_021_a_cursor_with_hold_keeps_what_its_tenant_saw_until_the_session_is_discarded(attack: Attack) -> None:
    """Postgres stores the rows when the cursor's transaction ends: no policy sees them again. Never use one."""
    attack.enqueue("a")
    app = attack.connect("jf_app", tenant="a")
    app.execute("declare kept cursor with hold for select tenant_id from jobforge.jobs")
    app.commit()
    app.execute("select set_config('jobforge.tenant_id', 'b', true)")
    assert tenants(app, "jobs") == set()
    assert app.execute("fetch all from kept").fetchall() == [{"tenant_id": "a"}]
    app.commit()
    app.autocommit = True
    app.execute("discard all")
    with refused("34000"):
        app.execute("fetch all from kept")


def test_case_021_the_library_holds_no_cursor() -> None:
    texts = {file.name: file.read_text() for file in python_files("jobforge_sa")}
    dry_run = "declare jobforge_dry_run no scroll cursor with hold"  # it can only fail: its transaction never commits
    assert dry_run in texts["calls.py"]
    texts["calls.py"] = texts["calls.py"].replace(dry_run, "")
    assert [name for name, text in texts.items() if re.search(r"with\s+hold", text, re.IGNORECASE)] == []


def test_case_022_a_copy_gives_the_tenants_own_rows_and_takes_none(attack: Attack) -> None:
    attack.enqueue("a")
    attack.enqueue("b")
    app = attack.connect("jf_app", tenant="a")
    for source in ("(select tenant_id from jobforge.jobs)", "jobforge.jobs (tenant_id)"):
        with app.cursor().copy(f"copy {source} to stdout".encode()) as copied:
            assert b"".join(map(bytes, copied)) == b"a\n"
    for target in ("jobs", "ready", "leases (job_id)", "all_jobs"):
        with refused("42501"):
            app.execute(f"copy jobforge.{target} from stdin".encode())
        app.rollback()
    with refused("42501"):
        app.execute("copy jobforge.jobs (tenant_id) to program 'cat'")


# --- beside the policies -----------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["jf_app", "jf_one", "jf_admin"])
def test_case_023_row_security_cannot_be_switched_off(attack: Attack, user: str) -> None:
    attack.enqueue("b")
    app = attack.connect(user, tenant="a")
    app.execute("set local row_security = off")
    app.execute("savepoint s")
    for statement in ("select * from jobforge.jobs", "copy jobforge.ready to stdout", "table jobforge.all_jobs"):
        with refused("42501"):
            app.execute(statement.encode())
        app.execute("rollback to s")


def test_case_024_a_leaky_function_in_a_filter_sees_the_tenants_own_rows_only(attack: Attack) -> None:
    for tenant in "ab":
        everywhere(attack, tenant)
    app = attack.connect("jf_app", tenant="a")
    notices: list[str] = []
    app.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    app.execute(
        "create function pg_temp.spy(text) returns boolean language plpgsql cost 0.000001 as "
        "$$ begin raise notice '%', $1; return true; end $$"
    )
    for table in [*TABLES, *COLUMNS]:
        app.execute(f"select 1 from jobforge.{table} where pg_temp.spy(tenant_id)".encode())
        app.execute(f"select 1 from jobforge.{table} where 1 / (tenant_id <> 'b')::int = 1".encode())  # raises at a b
    app.execute("select 1 from jobforge.jobs j, jobforge.attempts a where pg_temp.spy(a.tenant_id || a.error)")

    assert {notice[0] for notice in notices} == {"a"}


def test_case_025_the_planners_statistics_are_nobodys(attack: Attack) -> None:
    attack.fill("a", 30)
    attack.fill("b", 300)
    attack.dba("create statistics jobforge.seen on priority, max_attempts from jobforge.jobs", "analyze jobforge.jobs")
    views = ("pg_stats", "pg_stats_ext")
    try:
        for view in views:
            query = f"select 1 from {view} where schemaname = 'jobforge'"
            assert attack.look(query), "there is nothing to be hidden"
            for user in ("jf_app", "jf_one", "jf_admin", "jf_worker", "jf_stranger"):
                assert attack.connect(user, tenant="a").execute(query.encode()).fetchall() == []
        for table in ("pg_statistic", "pg_statistic_ext_data"):
            with refused("42501"):
                attack.session("jf_app").execute(f"select * from {table}".encode())
    finally:
        attack.dba("drop statistics jobforge.seen")


HIDDEN = [
    *((table, "tenant_id") for table in [*TABLES, *COLUMNS, "limits"] if table != "all_jobs"),
    *((table, column) for table in ("jobs", "ready", "scheduled") for column in ("queue", "type")),
    *(("jobs", "idempotency_key"), ("idempotency_keys", "type"), ("idempotency_keys", "key")),
]
GUESSES = (
    "globex",
    "globey",
    "merger",
    "nobody",
    "aaaaaa",
    "zzzzzz",
)  # of one length: a longer pattern counts for less


def test_case_026_no_estimate_depends_on_what_other_tenants_have(attack: Attack) -> None:
    """EXPLAIN prints what the planner guesses of all rows: without statistics one guess is as good as another."""
    everywhere(attack, "globex")
    attack.fill("globex", 3000, type="merger", queue="globex")
    attack.dba("analyze")
    app = attack.connect("jf_app", tenant="a")

    def estimate(table: str, condition: str) -> int:
        plan: Any = app.execute(
            f"explain (format json) select 1 from jobforge.{table} where {condition}".encode()
        ).fetchone()
        return int(plan["QUERY PLAN"][0]["Plan"]["Plan Rows"])

    for table, column in HIDDEN:
        for form in ("= '{}'", ">= '{}'", "< '{}'", "like '{}%'", "in ('{}', 'x')", "> '{}' and {column} < '{}~'"):
            counts = {estimate(table, f"{column} {form.format(g, g, column=column)}") for g in GUESSES}
            assert len(counts) == 1, f"{table}.{column} {form}: {counts}"
    assert estimate("jobs", "true") > 0


def test_case_027_a_view_is_a_hole_unless_it_asks_with_the_rights_of_its_reader(attack: Attack) -> None:
    for tenant in "ab":
        attack.enqueue(tenant)
    attack.dba(
        "create view public.leaky as select * from jobforge.jobs",
        "create view public.tight with (security_invoker = true) as select * from jobforge.jobs",
        "grant select on public.leaky, public.tight to jf_app",
    )
    try:
        app = attack.connect("jf_app", tenant="a")
        ask = "select tenant_id from public.{}"
        seen = {view: app.execute(ask.format(view).encode()).fetchall() for view in ("leaky", "tight")}
        app.commit()
    finally:
        attack.dba("drop view public.leaky, public.tight")
    assert [row["tenant_id"] for row in seen["leaky"]] == ["a", "b"]  # a superuser's view: what ours must not be
    assert [row["tenant_id"] for row in seen["tight"]] == ["a"]
    ours = attack.look(
        "select relname, coalesce(reloptions, '{}') @> '{security_invoker=true}' as tight from pg_class "
        "where relnamespace = 'jobforge'::regnamespace and relkind in ('v', 'm')"
    )
    assert ours
    assert [view["relname"] for view in ours if not view["tight"]] == []


def test_case_028_the_wall_stands_when_somebody_adds_a_policy_that_shows_all(attack: Attack) -> None:
    for tenant in "ab":
        everywhere(attack, tenant)
    tables = [table for table in [*TABLES, *COLUMNS] if table != "all_jobs"]
    attack.dba(*(f"create policy rogue on jobforge.{t} to public using (true) with check (true)" for t in tables))
    try:
        for table in tables:
            for user in ("jf_app", "jf_one"):  # whoever is in jobforge_app, whatever else he is
                app = attack.connect(user, tenant="a")
                assert tenants(app, table) == {"a"}
                app.commit()
                assert tenants(app, table) == set()
                app.rollback()
            assert tenants(attack.session("jf_admin"), table) == {"a", "b"}
    finally:
        attack.dba(*(f"drop policy rogue on jobforge.{table}" for table in tables))


def test_case_029_in_plain_mode_whoever_runs_sql_can_name_another_tenant(attack: Attack) -> None:
    """The limit that the README states: a setting is no secret. Nothing persists, and no admin's view comes of it."""
    for tenant in "ab":
        attack.enqueue(tenant)
    injected = "x' union all select set_config('jobforge.tenant_id', 'b', true) --"
    app = attack.connect("jf_app", tenant="a")
    app.execute(f"select type from jobforge.jobs where type = '{injected}'".encode())
    assert tenants(app, "jobs") == {"b"}  # one tenant at a time, and it has to be known by name
    app.commit()
    assert tenants(app, "jobs") == set()


# --- through the library -----------------------------------------------------------------------------------


def test_case_031_a_pooled_connection_carries_no_tenant_to_its_next_user(attack: Attack) -> None:
    engine = attack.engine("jf_app", pool_size=1, max_overflow=0)
    with Session(engine) as session:
        bind_tenant(session, "a")
        pid = session.scalar(sa.text("select pg_backend_pid()"))
        session.commit()
    with Session(engine) as session:
        Jobs(session, tenant="a").enqueue(store, Number(n=1))
        session.rollback()
    with engine.connect() as connection:
        with connection.begin():
            Jobs(connection, tenant="a").enqueue(store, Number(n=1))
        assert connection.scalar(sa.text("select jobforge.current_tenant()")) is None
        connection.rollback()
    with Session(engine) as session:
        assert session.scalar(sa.text("select pg_backend_pid()")) == pid
        assert session.scalar(sa.text("select jobforge.current_tenant()")) is None
        assert session.scalars(sa.select(Job)).all() == []
        assert Jobs(session).list().jobs == []


def test_case_031_the_library_sets_its_tenant_for_one_transaction_only() -> None:
    """Each set_config of the package says so, and nothing says SET: that would stay in the pool."""
    lines = [(file.name, line) for file in python_files("jobforge_sa") for line in file.read_text().splitlines()]
    # seal.py puts back what pg_settings lists, and that is no tenant: their names have dots
    calls = [
        one for one in lines if "set_config(" in one[1] and one[0] != "seal.py" and not one[1].startswith("PIN_PATH")
    ]
    assert len(calls) > 5
    assert [one for one in calls if not re.search(r",\s*true\s*\)", one[1], re.IGNORECASE)] == []
    assert [one for one in lines if re.search(r"\bset\s+(session\s+)?jobforge\.", one[1], re.IGNORECASE)] == []


forge = JobForge()
other = JobForge(tenant="b")


@forge.task()
def store(ctx: Context, payload: Number) -> None:
    """Tries to enqueue for others in each way there is."""
    assert ctx.session.scalar(sa.text("select jobforge.current_tenant()")) == ctx.job.tenant_id == "a"
    Jobs(ctx.session).enqueue(child, payload)
    Jobs(ctx.session).enqueue_many([child.new(payload)])
    Jobs(ctx.session).enqueue(elsewhere, payload)  # the registry's own tenant is a default, not a right
    for tenant in ("b", "A", "a "):
        try:
            Jobs(ctx.session, tenant=tenant)
        except TenantConflict:
            continue
        raise AssertionError(tenant)


@forge.task()
async def store_async(ctx: AsyncContext, payload: Number) -> None:
    await ctx.session.run_sync(
        lambda session: store.handler(Context(ctx.job, ctx._signals, lambda: session, ctx._complete), payload)
    )


@forge.task()
def change(ctx: Context, payload: Number) -> None:
    ctx.session.execute(sa.text("select set_config('jobforge.tenant_id', 'b', true)"))
    Jobs(ctx.session.connection()).enqueue(child, payload)


@forge.task(queue="later")
def child(ctx: Context, payload: Number) -> None: ...


@other.task(queue="later")
def elsewhere(ctx: Context, payload: Number) -> None: ...


@pytest.mark.parametrize("task", [store, store_async], ids=["plain", "async"])
def test_case_033_what_a_handler_enqueues_is_its_jobs_tenants(attack: Attack, task: Any) -> None:
    trace = {"traceparent": "t"}
    job = attack.enqueue("a", task.name, {"n": 1}, trace=trace)
    with Worker(attack.engine("jf_worker"), forge, queues=["default"], session_engine=attack.engine("jf_app")):
        wait_for(lambda: attack.state(job) not in ("queued", "running"))

    assert attack.state(job) == "succeeded", attack.attempts(job)
    rows = attack.look("select tenant_id, parent_id, type, trace from jobforge.jobs where queue = 'later' order by id")
    assert [row.pop("type") for row in rows] == ["child", "child", "elsewhere"]
    assert rows == [{"tenant_id": "a", "parent_id": job, "trace": trace}] * 3


def test_case_033_a_handler_that_changes_its_tenant_by_hand_is_rolled_back(attack: Attack) -> None:
    """It has lost its lease by that: a token is worth nothing under another tenant, and the commit needs it."""
    job = attack.enqueue("a", "change", {"n": 1}, max_attempts=1)
    with Worker(
        attack.engine("jf_worker"), forge, queues=["default"], session_engine=attack.engine("jf_app")
    ) as worker:
        wait_for(lambda: attack.state(job) not in ("queued", "running"))
        assert worker.outcomes["succeeded"] == 0

    assert attack.look("select 1 from jobforge.jobs where queue = 'later'") == []


def test_case_034_what_hangs_on_another_tenants_job_is_not_found_by_its_id(attack: Attack) -> None:
    mine, theirs = everywhere(attack, "a"), everywhere(attack, "b")
    (child_id,) = [row["id"] for row in attack("enqueue_job", tenant="a", type="t", parent_id=theirs)]
    with Session(attack.engine("jf_app")) as session:
        bind_tenant(session, "a")
        assert session.get(Job, theirs) is None
        assert session.scalars(sa.select(Attempt).where(Attempt.job_id == theirs)).all() == []
        assert session.scalars(sa.select(Attempt).join(Attempt.job).where(Job.id == theirs)).all() == []
        loaded = session.scalars(sa.select(Job).options(joinedload(Job.attempts))).unique().all()
        assert {attempt.tenant_id for job in loaded for attempt in job.attempts} == {"a"}
        parents = sa.text(
            "select p.id from jobforge.jobs c left join jobforge.jobs p on p.id = c.parent_id where c.id = :id"
        )
        assert session.scalar(parents, {"id": child_id}) is None
    app = attack.connect("jf_app", tenant="a")
    for table in ("attempts", "outcomes", "leases", "idempotency_keys", "cancel_requests"):
        query = f"select job_id from jobforge.{table} where job_id = %s"
        assert app.execute(query.encode(), [theirs]).fetchall() == []
    assert app.execute("select job_id from jobforge.outcomes where job_id = %s", [mine]).fetchall() == [
        {"job_id": mine}
    ]


# --- what a tenant's open transaction holds up -------------------------------------------------------------


def canceled_late(attack: Attack, tenant: str) -> uuid.UUID:
    """A job that waits for its retry, with a cancel that its run did not see."""
    job = attack.enqueue(tenant)
    (run,) = attack.claim()
    late = attack.connect("jf_app", tenant=tenant)
    call(late, "cancel_job", job_id=job)
    attack.complete(run, "failed", delay=3600)
    late.commit()
    return job


def test_three_rows_that_a_tenant_holds_keep_no_other_tenants_cancels_waiting(attack: Attack) -> None:
    held = [canceled_late(attack, "a") for _ in range(3)]
    holder = attack.connect("jf_app", tenant="a")
    for job in held:
        call(holder, "reschedule_job", job_id=job, delay="2 hours")
    theirs = [canceled_late(attack, "b") for _ in range(3)]
    for _ in range(5):
        attack("upkeep")
    states = [attack.state(job) for job in theirs]
    holder.rollback()

    assert states == ["canceled"] * 3
