"""Two applications in one cluster: they share our roles, so CONNECT and each database's own rights keep them apart."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg
import pytest

from jobforge_sa.db import migrate
from tests.migration.projects import alembic, snapshot
from tests.security.cluster import Cluster, acting, own_cluster
from tests.support import call, refused

APPS = ("one", "two")
CLOSE = ("revoke connect on database {0} from public", "grant connect on database {0} to {0}_app")


@pytest.fixture(scope="module")
def templates() -> Iterator[Cluster]:
    """Both databases as they were made by their own migrators, to be cloned."""
    with own_cluster() as cluster:
        for name in APPS:
            cluster.run(
                f"create role {name}_migrator login createrole createdb",
                f"create role {name}_app login",
                f"create database {name}_template owner {name}_migrator",
            )
        migrate.upgrade(cluster.engine("one_template", "one_migrator"))
        cluster.run(*second_migrator(cluster))
        migrate.upgrade(cluster.engine("two_template", "two_migrator"))
        cluster.run("grant jobforge_app to one_app, two_app")
        yield cluster


@pytest.fixture
def cluster(templates: Cluster) -> Iterator[Cluster]:
    """Databases "one" and "two", each with a job, a migrator and the application's login."""
    for name in APPS:
        templates.run(f"create database {name} template {name}_template owner {name}_migrator")
        with templates.connect(name, f"{name}_app") as app, acting(app, "secret"):
            call(app, "enqueue_job", type=name)
    yield templates
    for name in APPS:
        templates.run(f"drop database {name} with (force)")


def second_migrator(cluster: Cluster) -> list[str]:
    """What the DBA runs for the second: the roles are there already, and are the first one's to give."""
    option = " with inherit false, set true" if cluster.server.installation.major >= 16 else ""
    return [f"grant jobforge_owner to two_migrator{option}"]


def types(cluster: Cluster, database: str, user: str) -> list[str]:
    """What a login sees of the tenant "secret" in a database."""
    with cluster.connect(database, user) as app, acting(app, "secret"):
        return [row["type"] for row in app.execute("select type from jobforge.jobs").fetchall()]


def close(cluster: Cluster) -> None:
    """The owner of each database does it; no superuser is needed."""
    for name in APPS:
        cluster.run(*(line.format(name) for line in CLOSE), database=name, user=f"{name}_migrator")


def test_without_connect_rights_one_application_reads_the_others_tenants(cluster: Cluster) -> None:
    """The danger: jobforge_app is one role for the cluster, and everybody may connect to a new database."""
    assert types(cluster, "two", "one_app") == ["two"]
    with cluster.connect("two", "one_app") as intruder, acting(intruder, "secret"):
        call(intruder, "enqueue_job", type="forged")
    assert types(cluster, "two", "two_app") == ["two", "forged"]


def test_connect_rights_keep_two_applications_apart(cluster: Cluster) -> None:
    close(cluster)

    assert types(cluster, "one", "one_app") == ["one"]
    assert types(cluster, "two", "two_app") == ["two"]
    for name, other in (APPS, APPS[::-1]):
        with pytest.raises(psycopg.OperationalError, match=f'permission denied for database "{other}"'):
            types(cluster, other, f"{name}_app")
    migrate.upgrade(cluster.engine("two", "two_migrator"))  # the owner of a database may always connect


def test_rights_on_the_schema_are_each_databases_own(cluster: Cluster) -> None:
    """A second lock, where CONNECT must stay open: the schema is for logins that are named, not for the shared role."""
    roles = "jobforge_app, jobforge_worker, jobforge_admin"
    for name in APPS:
        cluster.run(
            "set role jobforge_owner",
            f"revoke usage on schema jobforge from {roles}",
            f"grant usage on schema jobforge to {name}_app",
            database=name,
            user=f"{name}_migrator",
        )

    assert types(cluster, "one", "one_app") == ["one"]
    assert types(cluster, "two", "two_app") == ["two"]
    for name, other in (APPS, APPS[::-1]):
        with refused("42501", "schema jobforge"):
            types(cluster, other, f"{name}_app")
        with refused("42501", "schema jobforge"), cluster.connect(other, f"{name}_app") as intruder:
            call(intruder, "current_tenant")


@pytest.mark.parametrize("name", APPS)
def test_a_downgrade_leaves_roles_and_the_other_database_alone_and_says_so(
    cluster: Cluster, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = APPS[1 - APPS.index(name)]
    before = snapshot(cluster.engine(other, f"{other}_migrator"))
    with caplog.at_level(logging.INFO, "jobforge_sa.migrations"):
        migrate.downgrade(cluster.engine(name, f"{name}_migrator"), "base")

    assert "roles jobforge_* stay" in caplog.text
    assert snapshot(cluster.engine(other, f"{other}_migrator")) == before
    assert types(cluster, other, f"{other}_app") == [other]
    with cluster.connect(name) as look:
        kept = "select rolname from pg_roles where rolname like 'jobforge\\_%' order by 1"
        assert [row["rolname"] for row in look.execute(kept).fetchall()] == [
            "jobforge_admin",
            "jobforge_app",
            "jobforge_owner",
            "jobforge_worker",
        ]
        assert look.execute("select from pg_class where relnamespace = 'jobforge'::regnamespace").fetchall() == []
    migrate.upgrade(cluster.engine(name, f"{name}_migrator"))
    assert types(cluster, name, f"{name}_app") == []


def test_the_command_says_what_a_downgrade_leaves(cluster: Cluster) -> None:
    _, said = alembic("downgrade", "base", DATABASE_URL=cluster.server.url_for("two", "two_migrator"))
    assert "roles jobforge_* stay: roles belong to the whole cluster" in said
