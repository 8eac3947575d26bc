"""Masters of managed services: no superusers, but holders of Postgres's own broad roles. What these reach of ours."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from jobforge_sa.db import migrate
from tests.security.cluster import Cluster, acting, own_cluster
from tests.support import call, refused

BROAD = "pg_read_all_data, pg_write_all_data, pg_monitor, pg_signal_backend"
TABLES = "select relname from pg_class where relnamespace = 'jobforge'::regnamespace and relkind = 'r' order by 1"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A master migrates, a job of the tenant "a" is running, another login has the broad roles only."""
    with own_cluster() as cluster:
        cluster.run(
            "create role master login createrole createdb",
            "create role broad login",
            "create role reader login",
            "create role app login",
            "create database app owner master",
            f"grant {BROAD} to master, broad",
            "grant pg_read_all_data to reader",
        )
        migrate.upgrade(cluster.engine("app", "master"))
        # the master hands the roles out by itself, no superuser is needed
        cluster.run("grant jobforge_app to app, reader", "grant jobforge_worker to app", user="master")
        with cluster.connect("app", "app") as app:
            with acting(app, "a"):
                call(app, "enqueue_job", type="t")
                call(app, "enqueue_job", type="t")
            call(app, "claim_jobs", worker_id=uuid.UUID(int=1), queues=["default"], types=["t"], limit=1)
        yield cluster


def ours(cluster: Cluster) -> list[str]:
    with cluster.connect("app") as look:
        return [row["relname"] for row in look.execute(TABLES).fetchall()]


@pytest.mark.parametrize("user", ["master", "broad"])
def test_broad_roles_read_and_change_no_rows_whatever_tenant_they_name(cluster: Cluster, user: str) -> None:
    """They skip grants; policies they do not skip, and none of ours is for them."""
    assert len(ours(cluster)) >= 9
    with cluster.connect("app", user) as broad, acting(broad, "a"):
        for table in ours(cluster):
            assert broad.execute(f"select * from jobforge.{table}".encode()).fetchall() == [], table
            assert broad.execute(f"delete from jobforge.{table}".encode()).rowcount == 0, table
        assert broad.execute("update jobforge.jobs set tenant_id = 'b'").rowcount == 0
    refusal = contextlib.suppress(psycopg.errors.InsufficientPrivilege)
    with cluster.connect("app", user) as broad, refusal, acting(broad, "a"):
        # on 15 whoever made the roles inherits the right to ask for the tenant
        assert broad.execute("select * from jobforge.all_jobs").fetchall() == []


@pytest.mark.parametrize(
    "attempt",
    [
        "insert into jobforge.cancel_requests values (gen_random_uuid(), 'a', now())",
        "truncate jobforge.jobs",
        "select jobforge.enqueue_job('t')",
        "select * from jobforge.upkeep()",
        "alter table jobforge.jobs disable row level security",
        "set local row_security = off; select from jobforge.jobs",
        "alter role broad bypassrls",
    ],
)
def test_broad_roles_are_refused_the_rest(cluster: Cluster, attempt: str) -> None:
    with cluster.connect("app", "broad") as broad, refused("42501"), acting(broad, "a"):
        broad.execute(attempt.encode())


def test_a_master_may_not_step_around_the_policies_either(cluster: Cluster) -> None:
    with cluster.connect("app", "master") as master, refused("42501"):
        master.execute("alter role master bypassrls")
    with cluster.connect("app", "master") as master, refused("42501"), master.transaction():
        master.execute("set local row_security = off")
        master.execute("select from jobforge.jobs")


def test_the_right_to_read_all_data_together_with_the_applications_role_reads_lease_tokens(cluster: Cluster) -> None:
    """Of its own tenant: the policies hold, the grants on columns do not. So no login should have both."""
    with cluster.connect("app", "app") as app, refused("42501"), acting(app, "a"):
        app.execute("select token from jobforge.leases")
    with cluster.connect("app", "reader") as reader:
        with acting(reader, "a"):
            assert len(reader.execute("select token from jobforge.leases").fetchall()) == 1
        with acting(reader, "b"):
            assert reader.execute("select token from jobforge.leases").fetchall() == []
