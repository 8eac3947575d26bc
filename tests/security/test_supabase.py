"""On Supabase, as far as its roles go: PostgREST logs in as authenticator, becomes a role and names the claims."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobforge_sa.db import migrate
from tests.security.cluster import Cluster, own_cluster
from tests.support import Connection, call, item, refused

ROLES = [
    "create role anon nologin",
    "create role authenticated nologin",
    "create role service_role nologin bypassrls",
    "create role authenticator login noinherit",
    "create role early nologin noinherit",  # as the three were in projects from before June 2023
    "grant anon, authenticated, service_role, early to authenticator",
    # there it is called postgres; it is no superuser, and bypasses policies
    "create role migrator login nosuperuser createrole createdb bypassrls",
    "create database app owner migrator",
]
# what every project there comes with: everything that appears in public is everybody's
PUBLIC = [
    "grant usage on schema public to anon, authenticated, service_role",
    "grant all on schema public to migrator",
    *(
        f"alter default privileges for role migrator in schema public grant all on {kind} "
        "to anon, authenticated, service_role"
        for kind in ("tables", "functions", "sequences")
    ),
]
GRANTS = ["grant jobforge_app to authenticated", "grant jobforge_worker, jobforge_admin to service_role"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with own_cluster() as cluster:
        cluster.run(*ROLES)
        cluster.run(*PUBLIC, database="app")
        migrate.upgrade(cluster.engine("app", "migrator"))
        cluster.run(*GRANTS, database="app", user="migrator")
        yield cluster


@pytest.fixture
def gate(cluster: Cluster) -> Iterator[Connection]:
    """PostgREST's connection."""
    with cluster.connect("app", "authenticator") as connection:
        yield connection


@contextmanager
def request(gate: Connection, role: str, claims: object = None, tenant: str | None = None) -> Iterator[Connection]:
    """One request of PostgREST: a transaction, the role, the claims of its token as they came."""
    with gate.transaction():
        gate.execute(f"set local role {role}".encode())
        if claims is not None:
            gate.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
        if tenant is not None:
            gate.execute("select set_config('jobforge.tenant_id', %s, true)", [tenant])
        yield gate


def of(tenant: str, **more: object) -> dict[str, object]:
    """The claims of a signed-in user of a tenant."""
    return {"sub": str(uuid.uuid4()), "role": "authenticated", "app_metadata": {"tenant_id": tenant}, **more}


def seen(connection: Connection) -> set[str]:
    """The tenants in the tables and in the view."""
    rows = connection.execute("select tenant_id from jobforge.jobs union all select tenant_id from jobforge.all_jobs")
    return {row["tenant_id"] for row in rows.fetchall()}


def enqueue(connection: Connection, **more: Any) -> uuid.UUID:
    return uuid.UUID(str(call(connection, "enqueue_job", type="t", **more)[0]["id"]))


@pytest.fixture
def theirs(gate: Connection) -> uuid.UUID:
    """A job of the tenant "b"."""
    with request(gate, "authenticated", of("b")) as b:
        return enqueue(b)


def test_a_signed_in_user_sees_and_enqueues_for_the_tenant_of_the_token(gate: Connection, theirs: uuid.UUID) -> None:
    with request(gate, "authenticated", of("a")) as a:
        mine = enqueue(a)
        assert seen(a) == {"a"}
        assert [row["tenant_id"] for row in call(a, "get_job", job_id=mine)] == ["a"]
        assert call(a, "get_job", job_id=theirs) == []
        assert call(a, "cancel_job", job_id=theirs) == []
    with request(gate, "authenticated", of("b")) as b:
        assert seen(b) == {"b"}
        assert [row["state"] for row in call(b, "get_job", job_id=theirs)] == ["queued"]


def test_user_metadata_which_users_write_themselves_is_ignored(gate: Connection, theirs: uuid.UUID) -> None:
    forged = {"role": "authenticated", "user_metadata": {"tenant_id": "b"}, "tenant_id": "b"}
    with request(gate, "authenticated", forged) as nobody:
        assert seen(nobody) == set()
    with refused("JF001"), request(gate, "authenticated", forged) as nobody:
        enqueue(nobody)
    with request(gate, "authenticated", of("a", user_metadata={"tenant_id": "b"})) as a:
        assert seen(a) <= {"a"}
        assert call(a, "get_job", job_id=theirs) == []


@pytest.mark.parametrize("claims", [None, {}, {"role": "authenticated"}, {"app_metadata": {}}])
def test_without_a_claim_there_are_no_rows_and_no_writes(gate: Connection, theirs: uuid.UUID, claims: object) -> None:
    with request(gate, "authenticated", claims) as nobody:
        assert seen(nobody) == set()
        assert call(nobody, "get_job", job_id=theirs) == []
    with refused("JF001"), request(gate, "authenticated", claims) as nobody:
        enqueue(nobody)


def test_a_claim_and_a_setting_that_disagree_are_refused(gate: Connection, theirs: uuid.UUID) -> None:
    with refused("JF002", "different tenants"), request(gate, "authenticated", of("a"), tenant="b") as confused:
        seen(confused)
    with refused("JF002", "different tenants"), request(gate, "authenticated", of("a"), tenant="b") as confused:
        enqueue(confused)
    with refused("JF002"), request(gate, "authenticated", of("a")) as a:
        enqueue(a, tenant_id="b")
    with request(gate, "authenticated", of("a"), tenant="a") as a:
        enqueue(a)


def test_the_next_request_on_the_connection_inherits_nothing(gate: Connection) -> None:
    with request(gate, "authenticated", of("a")) as a:
        enqueue(a)
    with request(gate, "authenticated") as nobody:
        assert seen(nobody) == set()
    with request(gate, "authenticated", of("c")) as c:
        assert seen(c) == set()


@pytest.mark.parametrize("role", ["authenticator", "anon"])
@pytest.mark.parametrize(
    "attempt",
    ["select tenant_id from jobforge.jobs", "select jobforge.current_tenant()", "select jobforge.enqueue_job('t')"],
)
def test_the_login_itself_and_anon_are_refused_all(gate: Connection, role: str, attempt: str) -> None:
    """authenticator inherits nothing of what it may become."""
    with refused("42501"), request(gate, role, of("a")) as connection:
        connection.execute(attempt.encode())


@pytest.mark.parametrize("wanted", ["jobforge_owner", "migrator", "postgres"])
def test_the_login_cannot_become_more_than_the_platform_means(gate: Connection, wanted: str) -> None:
    with refused("42501"), request(gate, wanted):
        pass


@pytest.mark.parametrize(
    "attempt", ["claim_jobs(gen_random_uuid(), '{default}', '{t}')", "upkeep()", "audit()", "settle(null)"]
)
def test_a_signed_in_user_may_not_do_what_is_service_roles(gate: Connection, attempt: str) -> None:
    with refused("42501"), request(gate, "authenticated", of("a")) as a:
        a.execute(f"select * from jobforge.{attempt}".encode())


def test_service_role_works_for_all_tenants_and_reads_them(gate: Connection, theirs: uuid.UUID) -> None:
    with request(gate, "service_role") as service:
        runs = call(service, "claim_jobs", worker_id=uuid.uuid4(), queues=["default"], types=["t"], limit=1000)
    assert theirs in {run["job_id"] for run in runs}
    with request(gate, "service_role") as service:
        results = json.dumps([item(run) for run in runs])
        assert {row["answer"] for row in call(service, "complete_jobs", results=results)} == {"done"}
        rows = service.execute("select tenant_id from jobforge.jobs where id = %s", [theirs]).fetchall()
        assert [row["tenant_id"] for row in rows] == ["b"]
    with refused("JF001"), request(gate, "service_role") as service:
        enqueue(service)


@pytest.mark.parametrize(
    "attempt",
    [
        "select token from jobforge.leases",
        "update jobforge.jobs set tenant_id = 'a'",
        "delete from jobforge.jobs",
        "truncate jobforge.jobs",
        "select jobforge.settle(null)",
    ],
)
def test_bypassing_policies_gives_service_role_no_rights(gate: Connection, attempt: str) -> None:
    with refused("42501"), request(gate, "service_role", tenant="a") as service:
        service.execute(attempt.encode())


def test_a_role_that_does_not_inherit_needs_a_grant_that_says_so(cluster: Cluster, gate: Connection) -> None:
    cluster.run("grant jobforge_app to early", database="app", user="migrator")
    with refused("42501"), request(gate, "early", of("a")) as a:
        enqueue(a)
    if gate.info.server_version >= 160000:
        cluster.run("grant jobforge_app to early with inherit true", database="app", user="migrator")
    else:
        cluster.run("alter role early inherit")
    with request(gate, "early", of("a")) as a:
        enqueue(a)


def test_service_role_without_the_grants_is_a_stranger(cluster: Cluster, gate: Connection) -> None:
    cluster.run("revoke jobforge_worker, jobforge_admin from service_role", database="app", user="migrator")
    try:
        for attempt in ("select * from jobforge.jobs", "select * from jobforge.upkeep()"):
            with refused("42501"), request(gate, "service_role") as service:
                service.execute(attempt.encode())
    finally:
        cluster.run(GRANTS[1], database="app", user="migrator")


def test_what_the_platform_grants_in_public_reaches_nothing_of_ours(cluster: Cluster, gate: Connection) -> None:
    cluster.run("create table public.notes (n int)", "insert into notes values (1)", database="app", user="migrator")
    with request(gate, "anon") as anon:
        assert anon.execute("select n from notes").fetchall() == [{"n": 1}]  # the danger is real there
    with cluster.connect("app") as look:
        ours = look.execute(
            "select c.oid::regclass::text as name from pg_class c "
            "where relnamespace = 'jobforge'::regnamespace and relkind in ('r', 'v')"
        ).fetchall()
        held = look.execute(
            "select grantee, privilege_type from information_schema.role_table_grants where table_schema = 'jobforge' "
            "and grantee in ('anon', 'authenticated', 'service_role', 'authenticator', 'PUBLIC')"
        ).fetchall()
    assert len(ours) > 9
    assert held == []
    for relation in ours:
        with refused("42501", "schema jobforge"), request(gate, "anon") as anon:
            anon.execute(f"select from {relation['name']}".encode())
