"""Cases 35 to 70: what a role may not, and who has no role at all. The numbers are those of docs/security-cases.md."""

from __future__ import annotations

import datetime as dt
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Json

from jobforge_sa import Context, JobForge, Worker
from tests.security.guard import Attack, cluster
from tests.support import Connection, Row, call, item, refused, wait_for

MIGRATION_LOCK = "x'6a6f62666f726765'::bigint"  # 'jobforge' in ASCII

# as the app, under its own tenant: each is 42501, where nothing else is said
REFUSED: list[tuple[str, str]] = [
    ("035-insert", "insert into jobforge.jobs select * from jobforge.jobs"),
    ("035-insert ready", "insert into jobforge.ready values ('default', 'a', 0, gen_random_uuid(), 't', 0, 0, 0)"),
    ("036-update", "update jobforge.jobs set priority = -100"),
    ("036-update lease", "update jobforge.leases set deadline = deadline"),
    ("036-merge", "merge into jobforge.ready r using (select 1) x on true when matched then update set attempt = 0"),
    ("037-delete", "delete from jobforge.jobs"),
    ("037-delete attempts", "delete from jobforge.attempts where tenant_id = 'a'"),
    ("038-truncate", "truncate jobforge.ready"),
    ("039-star of leases", "select * from jobforge.leases"),
    ("039-star of attempts", "select * from jobforge.attempts"),
    ("039-workers", "select * from jobforge.workers"),
    ("039-alembic_version", "select * from jobforge.alembic_version"),
    ("040-token", "select token from jobforge.leases"),
    ("040-token of an attempt", "select token from jobforge.attempts"),
    ("040-whole row", "select l from jobforge.leases l"),
    ("040-row as json", "select row_to_json(l) from jobforge.leases l"),
    ("040-filter", "select 1 from jobforge.leases where token = gen_random_uuid()"),
    ("040-order", "select 1 from jobforge.attempts order by token"),
    ("040-group", "select count(*) from jobforge.leases group by token"),
    ("040-join", "select 1 from jobforge.leases join jobforge.attempts using (token)"),
    ("040-copy", "copy jobforge.leases (token) to stdout"),
    ("041-for update", "select * from jobforge.jobs for update"),
    ("041-for no key update", "select 1 from jobforge.ready for no key update"),
    ("041-for share", "select 1 from jobforge.jobs for share"),
    ("041-for key share", "select 1 from jobforge.leases for key share"),
    ("042-claim", "select * from jobforge.claim_jobs(gen_random_uuid(), '{default}', '{t}')"),
    ("045-extend", "select * from jobforge.heartbeat_jobs(gen_random_uuid())"),
    ("046-rescue", "select jobforge.rescue_expired_jobs()"),
    ("046-upkeep", "select * from jobforge.upkeep()"),
    ("047-audit", "select * from jobforge.audit()"),
    ("048-settle", "select jobforge.settle(null)"),
    ("048-take_back", "select jobforge.take_back(1)"),
    ("048-cancel_now", "select jobforge.cancel_now('b', gen_random_uuid(), true)"),
    ("048-promote_due", "select jobforge.promote_due(1)"),
    ("048-keep_alive", "select jobforge.keep_alive(gen_random_uuid(), '1 s')"),
    ("048-new_job_id", "select jobforge.new_job_id(now())"),
    ("049-lock", "lock table jobforge.jobs"),
    ("049-lock share", "lock table jobforge.ready in share mode"),
    ("049-lock row exclusive", "lock table jobforge.leases in row exclusive mode"),
    ("050-create function", "create function jobforge.x() returns int language sql as 'select 1'"),
    (
        "050-replace function",
        "create or replace function jobforge.now() returns timestamptz language sql as 'select null'",
    ),
    ("050-alter function", "alter function jobforge.now() set search_path = public"),
    ("050-drop function", "drop function jobforge.now()"),
    ("051-create table", "create table jobforge.x (n int)"),
    ("051-create view", "create view jobforge.x as select 1"),
    ("051-create type", "create type jobforge.x as (n int)"),
    ("052-disable", "alter table jobforge.jobs disable row level security"),
    ("052-no force", "alter table jobforge.jobs no force row level security"),
    ("052-column", "alter table jobforge.jobs add n int"),
    ("052-owner", "alter table jobforge.jobs owner to jf_app"),
    ("052-drop", "drop table jobforge.jobs"),
    ("052-drop schema", "drop schema jobforge cascade"),
    ("052-view", "alter view jobforge.all_jobs reset (security_invoker)"),
    ("053-create policy", "create policy x on jobforge.jobs using (true)"),
    ("053-alter policy", "alter policy jobs_wall on jobforge.jobs using (true)"),
    ("053-drop policy", "drop policy jobs_wall on jobforge.jobs"),
    (
        "054-trigger",
        "create trigger x before insert on jobforge.jobs execute function suppress_redundant_updates_trigger()",
    ),
    ("054-rule", "create rule x as on insert to jobforge.jobs do instead nothing"),
    ("054-index", "create index x on jobforge.jobs (type)"),
    ("055-statistics", "create statistics x on tenant_id, type from jobforge.jobs"),
    ("056-comment", "comment on table jobforge.jobs is 'x'"),
    ("058-owner", "set role jobforge_owner"),
    ("058-worker", "set role jobforge_worker"),
    ("058-admin", "set local role jobforge_admin"),
    ("058-by set_config", "select set_config('role', 'jobforge_owner', true)"),
    ("058-session", "set session authorization jf_worker"),
    ("058-member", "grant jobforge_admin to jf_app"),
    ("059-role", "alter role jf_app set jobforge.tenant_id = 'b'"),
    ("059-role's role", "alter role jobforge_app set search_path = pg_temp"),
    ("059-database", "alter database template1 set jobforge.tenant_id = 'b'"),
    ("059-all", "alter role all set jobforge.tenant_id = 'b'"),
    ("059-system", "alter system set jobforge.tenant_id = 'b'"),
]


def cases(low: int, high: int) -> pytest.MarkDecorator:
    chosen = [(label, text) for label, text in REFUSED if low <= int(label[:3]) <= high]
    return pytest.mark.parametrize("statement", [text for _, text in chosen], ids=[label for label, _ in chosen])


def refuse(attack: Attack, statement: str, user: str = "jf_app") -> None:
    app = attack.connect(user, tenant="a")
    if statement.startswith("alter system"):
        app.rollback()
        app.autocommit = True  # it takes no transaction
    with refused("42501"):
        app.execute(statement.encode())
    app.close()  # some tests refuse more than a server has connections


def running(attack: Attack, tenant: str = "a") -> Row:
    """A job that was just claimed."""
    job = attack.enqueue(tenant)
    (run,) = [run for run in attack.claim(100) if run["job_id"] == job]
    return run


# --- the application ---------------------------------------------------------------------------------------


@cases(35, 42)
def test_case_035_to_042_the_app_reads_what_is_its_own_and_writes_nothing(attacked: Attack, statement: str) -> None:
    refuse(attacked, statement)


@pytest.mark.parametrize("outcome", ["succeeded", "failed"], ids=["043-complete", "044-fail"])
def test_case_043_044_the_app_ends_a_run_by_its_token_and_no_other(attack: Attack, outcome: str) -> None:
    """Ours, not 42501: a handler's session is the app's, and the token is the right."""
    run, other = running(attack), running(attack, "b")
    guesses = [uuid.uuid4(), uuid.UUID(int=0), other["lease_token"]]
    for guess in guesses:
        ends = Json([item(run | {"lease_token": guess}, outcome)])
        assert attack("complete_jobs", user="jf_app", tenant="a", results=ends)[0]["answer"] == "lost"
    stolen = Json([item(other, outcome)])
    assert attack("complete_jobs", user="jf_app", tenant="a", results=stolen)[0]["answer"] == "lost"
    assert [attack.state(one["job_id"]) for one in (run, other)] == ["running", "running"]

    assert attack("complete_jobs", user="jf_app", tenant="a", results=Json([item(run, outcome)]))[0]["answer"] == "done"


@cases(45, 46)
def test_case_045_046_the_app_keeps_no_lease_alive_and_takes_none_back(attacked: Attack, statement: str) -> None:
    refuse(attacked, statement)


def test_case_045_the_app_holds_a_lease_by_its_token_alone(attack: Attack) -> None:
    run = running(attack, "b")
    for token, tenant in ((uuid.uuid4(), "b"), (run["lease_token"], "a"), (None, None)):
        (beat,) = attack("heartbeat_job", user="jf_app", tenant=tenant, job_id=run["job_id"], lease_token=token)
        assert beat == {"held": False, "cancel_requested": False, "deadline": None}


def test_case_047_the_app_enqueues_for_nobody_else(attacked: Attack) -> None:
    app = attacked.connect("jf_app", tenant="a")
    with pytest.raises(psycopg.Error) as error:
        app.execute("select * from jobforge.enqueue_job_for('b', 't')")
    assert error.value.sqlstate == "42501"


@cases(47, 49)
def test_case_047_048_049_the_app_calls_nothing_internal_and_locks_no_table(attacked: Attack, statement: str) -> None:
    refuse(attacked, statement)


def test_case_048_each_function_that_is_not_granted_is_refused(attacked: Attack) -> None:
    functions = attacked.look(
        "select p.oid::regproc::text as name, pronargs as arguments, "
        "array(select r.role from unnest(%s::text[]) r (role) "
        "where has_function_privilege('jobforge_' || r.role, p.oid, 'execute')) as roles "
        "from pg_proc p where pronamespace = 'jobforge'::regnamespace",
        ["app", "worker", "admin"],
    )
    assert sum(not one["roles"] for one in functions) > 10
    for one in functions:
        for user in ("app", "worker", "admin"):
            if user not in one["roles"]:
                refuse(attacked, f"select {one['name']}({', '.join(['null'] * one['arguments'])})", f"jf_{user}")


def test_case_049_a_reader_holds_up_nobody_who_works(attack: Attack) -> None:
    """ACCESS SHARE is every reader's: only who changes the schema waits for it."""
    holder = attack.connect("jf_app", tenant="a")
    holder.execute(
        "lock table jobforge.jobs, jobforge.ready, jobforge.scheduled, jobforge.outcomes in access share mode"
    )
    attack.enqueue("b")
    assert attack.complete(attack.claim_one()) == "done"
    attack("upkeep")


@cases(50, 56)
def test_case_050_to_056_the_app_makes_and_changes_nothing_in_the_schema(attacked: Attack, statement: str) -> None:
    refuse(attacked, statement)


def test_case_057_a_foreign_key_is_no_oracle_for_jobs(attack: Attack) -> None:
    theirs = attack.enqueue("b")
    attack.dba("create schema app authorization jf_app")
    try:
        refuse(attack, "create table app.x (id uuid references jobforge.jobs (id))")
        app = attack.connect("jf_app", tenant="a")
        app.execute("create table app.x (id uuid)")
        app.execute(f"insert into app.x values ('{theirs}')".encode())
        with refused("42501"):
            app.execute("alter table app.x add foreign key (id) references jobforge.jobs (id)")
        app.rollback()
        with refused("42P16"):  # a temporary table refers to temporary tables only
            app.execute("create temporary table x (id uuid references jobforge.jobs (id))")
        app.rollback()
    finally:
        attack.dba("drop schema app cascade")


@cases(58, 59)
def test_case_058_059_the_app_becomes_nobody_else_and_keeps_no_tenant(attacked: Attack, statement: str) -> None:
    refuse(attacked, statement)


# --- worker, admin, and the token --------------------------------------------------------------------------


def test_case_060_a_worker_reads_no_table_and_speaks_for_no_tenant(attack: Attack) -> None:
    job = attack.enqueue()
    relations = attack.look(
        "select relname as name from pg_class where relnamespace = 'jobforge'::regnamespace and relkind in ('r', 'v')"
    )
    assert len(relations) > 9
    worker = attack.session("jf_worker")
    for relation in relations:
        for column in ("*", "1", "count(*)"):
            with refused("42501"):
                worker.execute(f"select {column} from jobforge.{relation['name']}".encode())
    calls: dict[str, dict[str, Any]] = {"list_jobs": {}, "audit": {}, "enqueue_job": {"type": "t"}}
    calls |= {"enqueue_jobs": {"jobs": Json([])}}
    calls |= {name: {"job_id": job} for name in ("get_job", "cancel_job", "retry_job", "reschedule_job")}
    for function, arguments in calls.items():
        with refused("42501"):
            attack(function, user="jf_worker", tenant="a", **arguments)


def test_case_061_only_the_current_token_ends_a_run(attack: Attack) -> None:
    run, other = running(attack), running(attack)
    for token in (uuid.uuid4(), other["lease_token"], uuid.UUID(int=0)):
        assert attack.complete(run | {"lease_token": token}) == "lost"
    assert attack.complete(run | {"job_id": uuid.uuid4()}) == "lost"
    for token in (None, "", "x", "%", "________-____-____-____-____________", "0" * 36, [], {}):
        (said,) = attack("complete_jobs", results=Json([item(run) | {"lease_token": token}]))
        assert (said["answer"], said["reason"]) == ("refused", "lease_token is not a uuid")
    (said,) = attack("complete_job", job_id=run["job_id"], lease_token=None, outcome="succeeded")
    assert said["answer"] == "refused"

    assert attack.state(run["job_id"]) == attack.state(other["job_id"]) == "running"
    assert attack.attempts(run["job_id"]) == []

    assert attack.complete(run) == "done"
    assert [attack.complete(run, outcome) for outcome in ("succeeded", "failed")] == ["already_done", "lost"]
    assert [attempt["outcome"] for attempt in attack.attempts(run["job_id"])] == ["succeeded"]


def test_case_061_under_another_tenant_a_token_is_worth_nothing(attack: Attack) -> None:
    run = running(attack)
    arguments: dict[str, Any] = {"user": "jf_app", "tenant": "b"}
    assert attack("complete_jobs", results=Json([item(run)]), **arguments)[0]["answer"] == "lost"
    beat = attack("heartbeat_job", job_id=run["job_id"], lease_token=run["lease_token"], **arguments)
    assert beat[0]["held"] is False

    assert attack.complete(run) == "done"
    assert attack("complete_jobs", results=Json([item(run)]), **arguments)[0]["answer"] == "lost"


@pytest.mark.parametrize("user", ["jf_admin", "jf_app", "jf_worker", "jf_one"])
def test_case_062_no_role_writes_a_table_itself(attacked: Attack, user: str) -> None:
    known = attacked.look("select tablename as name from pg_tables where schemaname = 'jobforge'")
    tables = [row["name"] for row in known]
    assert len(tables) > 8
    writes = ["delete from {}", "truncate {}", "insert into {} default values"]
    for table in tables:
        columns = attacked.look(
            "select attname as name from pg_attribute "
            "where attrelid = %s::regclass and attnum > 0 and attgenerated = '' and attidentity = ''",
            f"jobforge.{table}",
        )
        updates = [f"update {{}} set {column['name']} = {column['name']}" for column in columns]
        for write in [*writes, *updates]:
            with refused("42501"):
                attacked.session(user).execute(write.format(f"jobforge.{table}").encode())


def test_case_062_nobody_but_the_owner_has_more_than_select_on_any_table(attacked: Attack) -> None:
    """TRUNCATE passes the policies, REFERENCES is an oracle, TRIGGER becomes the owner (case 67)."""
    rights = attacked.look(
        "select a.grantee::regrole::text as role, a.privilege_type as right from pg_class c, aclexplode(c.relacl) a "
        "where c.relnamespace = 'jobforge'::regnamespace and a.grantee <> c.relowner "
        "union select a.grantee::regrole::text, a.privilege_type from pg_attribute t, aclexplode(t.attacl) a "
        "where t.attrelid in (select oid from pg_class where relnamespace = 'jobforge'::regnamespace)"
    )
    assert {row["right"] for row in rights} == {"SELECT"}
    assert {row["role"] for row in rights} == {"jobforge_app", "jobforge_admin"}


# --- strangers ---------------------------------------------------------------------------------------------


def test_case_063_a_stranger_is_refused_all(attacked: Attack) -> None:
    functions = attacked.look(
        "select p.oid::regproc::text as name, pronargs as arguments from pg_proc p "
        "where pronamespace = 'jobforge'::regnamespace"
    )
    relations = attacked.look(
        "select oid::regclass::text as name from pg_class where relnamespace = 'jobforge'::regnamespace "
        "and relkind in ('r', 'v', 'm', 'S')"
    )
    assert len(functions) > 25
    assert len(relations) > 9
    statements = [f"select {one['name']}({', '.join(['null'] * one['arguments'])})" for one in functions]
    statements += [f"select 1 from {one['name']}" for one in relations]
    for statement in [*statements, "select 'jobforge.jobs'::regclass", "create table jobforge.x (n int)"]:
        refuse(attacked, statement, "jf_stranger")


def test_case_064_a_function_of_a_later_revision_is_nobodys_until_it_is_granted(attacked: Attack) -> None:
    attacked.dba(
        "set role jobforge_owner",
        "create function jobforge.later() returns int language sql as 'select 1'",
        "create table jobforge.later (n int)",
        "create type jobforge.later_type as (n int)",
        "create sequence jobforge.later_sequence",
        "reset role",
    )
    try:
        for user in ("jf_stranger", "jf_app", "jf_worker", "jf_admin", "jf_one"):
            for statement in (
                "select jobforge.later()",
                "select * from jobforge.later",
                "select null::jobforge.later_type",
                "select nextval('jobforge.later_sequence')",
            ):
                if statement.endswith("_type") and user != "jf_stranger":  # a cast asks no right; a column does
                    statement = "create temporary table x (y jobforge.later_type)"
                refuse(attacked, statement, user)
    finally:
        attacked.dba(
            "drop function jobforge.later()", "drop table jobforge.later", "drop type jobforge.later_type",
            "drop sequence jobforge.later_sequence",
        )  # fmt: skip


NAMES = [
    "uuid",
    "text",
    "jsonb",
    "json",
    "interval",
    "timestamptz",
    "boolean",
    "integer",
    "numeric",
    "float8",
    "record",
]


def mislead(connection: Connection) -> list[str]:
    """Put the caller's own names before all others; a function of his that ran would say as whom."""
    said: list[str] = []
    connection.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    connection.execute(
        "create function pg_temp.evil(pg_catalog.text) returns pg_catalog.bool language plpgsql as "
        "$$ begin raise notice 'ran as %', current_user; return true; end $$"
    )
    for name in NAMES:
        check = f"create domain pg_temp.{name} as pg_catalog.text check (pg_temp.evil(value::pg_catalog.text))"
        connection.execute(check.encode())
    tables = ("jobs", "ready", "scheduled", "leases", "idempotency_keys", "all_jobs", "pg_class")
    for table in tables:
        connection.execute(f"create table pg_temp.{table} (n pg_catalog.int4)".encode())
    for name in ("now()", "current_setting(pg_catalog.text, pg_catalog.bool)", "gen_random_uuid()"):
        function = (
            f"create function pg_temp.{name} returns pg_catalog.text language sql as 'select ''b''::pg_catalog.text'"
        )
        connection.execute(function.encode())
    connection.execute("set local search_path = pg_temp, pg_catalog")
    return said


def test_case_065_066_definer_functions_are_not_led_astray_by_the_callers_own_names(attack: Attack) -> None:
    app = attack.connect("jf_app", tenant="a")
    said = mislead(app)
    rows = [app.execute("select * from jobforge.enqueue_job('t', p_idempotency_key => 'k')").fetchone()]
    many = '[{"type": "t", "retry": {"base": 1}, "delay": "1 s", "parent_id": "00000000-0000-0000-0000-000000000001"}]'
    rows += app.execute("select * from jobforge.enqueue_jobs(%s)", [many]).fetchall()
    for row in rows:
        assert row is not None
        for function in ("get_job", "cancel_job", "retry_job", "reschedule_job"):
            found = app.execute(f"select tenant_id from jobforge.{function}('{row['id']}')".encode()).fetchall()
            assert found == [{"tenant_id": "a"}]
    assert len(app.execute("select id from jobforge.list_jobs()").fetchall()) == 2
    assert app.execute("select answer from jobforge.complete_jobs('[{}]')").fetchall() == [{"answer": "refused"}]
    app.commit()

    assert said == []
    assert sorted(attack.state(row["id"]) for row in rows if row) == ["queued", "queued"]


def test_case_065_066_the_workers_functions_are_not_led_astray_either(attack: Attack) -> None:
    attack.enqueue("a", retry={"base": 0})
    worker = attack.connect("jf_worker")
    said = mislead(worker)
    me = uuid.uuid4()
    claim = "select * from jobforge.claim_jobs(%s, array['default'], array['t'])"
    (run,) = worker.execute(claim, [me]).fetchall()
    worker.execute("select * from jobforge.heartbeat_jobs(%s, %s)", [me, [run["lease_token"]]])
    ends = Json([item(run, "failed", delay=0)])
    (said_of,) = worker.execute("select answer from jobforge.complete_jobs(%s)", [ends]).fetchall()
    worker.execute("select * from jobforge.upkeep()")
    worker.commit()

    assert said_of == {"answer": "done"}
    assert said == []
    assert attack.state(run["job_id"]) == "queued"


def test_case_067_the_right_to_a_trigger_is_the_owners_whole_power(attack: Attack) -> None:
    """Why no role of ours has it and the lint forbids it: the trigger of an app runs as the owner in enqueue."""
    refuse(attack, "create trigger t before insert on jobforge.jobs execute function pg_temp.x()")
    attack.dba("grant trigger on jobforge.jobs to jf_app", "create schema app authorization jf_app")
    try:
        app = attack.connect("jf_app", tenant="a")
        said: list[str] = []
        app.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
        app.execute(
            "create function app.x() returns trigger language plpgsql as "
            "$$ begin raise notice '%', current_user; return new; end $$"
        )
        app.execute("grant usage on schema app to public")
        app.execute("create trigger t before insert on jobforge.jobs for each row execute function app.x()")
        call(app, "enqueue_job", type="t")
        app.rollback()
    finally:
        attack.dba("revoke trigger on jobforge.jobs from jf_app", "drop schema app cascade")
    assert said == ["jobforge_owner"]


# --- what Postgres lets everybody do -----------------------------------------------------------------------

forge = JobForge()


@forge.task("t")
def handle(ctx: Context, payload: dict[str, Any]) -> None: ...


def test_case_069_a_flood_of_notifications_costs_a_bounded_number_of_claims(
    attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = attack.session("jf_stranger")
    with Worker(attack.engine("jf_worker"), forge, poll=dt.timedelta(seconds=60)) as worker:
        claims: list[float] = []
        claim = worker._claimer._claim

        def counted(*arguments: Any, **more: Any) -> Any:
            claims.append(time.monotonic())
            return claim(*arguments, **more)

        monkeypatch.setattr(worker._claimer, "_claim", counted)
        wait_for(lambda: worker._claimer._rest.idle >= 5, 60, "the worker to fall asleep")
        before, began = len(claims), time.monotonic()
        for _ in range(2000):
            stranger.execute("select pg_notify('jobforge', 'default')")
        stranger.execute("select pg_notify('jobforge', 'other ' || n) from generate_series(1, 10000) n")
        job = attack.enqueue("a", notify=False)
        stranger.execute("select pg_notify('jobforge', 'default')")
        wait_for(lambda: attack.state(job) == "succeeded", what="the job to run after the flood")
        flood = len(claims) - before
        assert flood <= 5 + (time.monotonic() - began) / 0.005  # the listener looks at most 200 times a second
        assert flood < 2000


@pytest.fixture
def full() -> Iterator[Attack]:
    """A server whose queue of notifications a stranger has filled; by default that takes him 8 GB."""
    with cluster(max_notify_queue_pages="64") as attack:  # since Postgres 17
        hearer, stranger = attack.connect("jf_stranger"), attack.session("jf_stranger")
        hearer.execute("listen jobforge")
        hearer.commit()
        hearer.execute("select 1")  # and never ends this transaction: nothing can be forgotten
        with refused("54000", "NOTIFY"):
            for _ in range(1000):
                stranger.execute("select pg_notify('other', repeat('x', 7000))")
        yield attack


def test_case_069_where_the_queue_of_notifications_is_full_an_enqueue_does_without(full: Attack) -> None:
    jobs = [full.enqueue("a"), full.enqueue("a", notify=False), *full.fill("a", 2)]
    assert [run["job_id"] for run in full.claim()] == jobs


def test_case_069_where_the_queue_of_notifications_is_full_workers_go_on(full: Attack) -> None:
    due = full.enqueue("a", notify=False, delay="10 milliseconds")
    wait_for(lambda: full.look("select 1 from jobforge.scheduled where run_at < clock_timestamp()"))
    assert [run["job_id"] for run in full.claim()] == [due]
    full("upkeep")


def test_case_069_what_is_heard_says_nothing_of_a_tenant(attack: Attack) -> None:
    stranger = attack.session("jf_stranger")
    stranger.execute("listen jobforge")
    attack.asleep("mail")
    for notify in (False, True):
        attack("enqueue_job", tenant="secret", type="t", queue="mail", delay="1 hour", notify=notify)
        attack("enqueue_job", tenant="secret", type="t", queue="mail", payload={"secret": 1}, notify=notify)

    heard = [(note.channel, note.payload) for note in stranger.notifies(timeout=5, stop_after=1)]
    assert heard == [("jobforge", "mail")]
    stranger.execute("unlisten *")


def test_case_070_a_stranger_with_our_advisory_lock_holds_up_no_job(attack: Attack) -> None:
    stranger = attack.connect("jf_stranger")
    stranger.execute(f"select pg_advisory_lock({MIGRATION_LOCK})".encode())
    attack.enqueue("a")
    with Worker(attack.engine("jf_worker"), forge) as worker:
        assert worker.drain(10)
        assert worker.outcomes == {"succeeded": 1}
    attack("upkeep")
    assert attack("list_jobs", tenant="a")[0]["state"] == "succeeded"


def test_case_070_a_stranger_with_our_advisory_lock_holds_up_no_migration(attack: Attack) -> None:
    stranger = attack.connect("jf_stranger")
    stranger.execute(f"select pg_advisory_lock({MIGRATION_LOCK})".encode())
    ended = threading.Event()

    def upgrade() -> None:
        attack.migrate()
        ended.set()

    thread = threading.Thread(target=upgrade, daemon=True)
    thread.start()
    in_time = ended.wait(3)
    stranger.close()
    thread.join(30)
    assert ended.is_set()
    assert in_time
