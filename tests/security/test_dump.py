"""pg_dump under FORCE ROW LEVEL SECURITY: who gets all rows, who an error, who silently nothing; and the way back."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.util import CommandError

from jobforge_sa.db import migrate
from tests.migration.projects import snapshot
from tests.security.cluster import Cluster, acting, own_cluster
from tests.support import Connection, Row, call, item, refused

OWNER = ["--role=jobforge_owner", "--enable-row-security", "--schema=jobforge"]
CLOSE = [
    "alter default privileges for role jobforge_owner revoke execute on functions from public",
    "alter default privileges for role jobforge_owner revoke usage on types from public",
]
WORKER = uuid.UUID(int=1)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The database "app": a table of the application's, and jobs of two tenants in every state."""
    with own_cluster() as cluster:
        cluster.run(
            "create role migrator login createrole createdb",
            "create role heir login",
            "create role one login",
            "create role narrow login",
            "create database app owner migrator",
        )
        migrate.upgrade(cluster.engine("app", "migrator"))
        cluster.run("grant jobforge_app, jobforge_worker, jobforge_admin to one")
        cluster.run("grant jobforge_app to narrow", "grant jobforge_owner to heir")
        cluster.run("create table orders (n int)", "insert into orders values (1)", database="app", user="migrator")
        with cluster.connect("app", "one") as one:
            fill(one)
        yield cluster


def fill(one: Connection) -> None:
    for tenant in "ab":
        with acting(one, tenant):
            for options in ({}, {}, {"delay": "1 hour"}, {"idempotency_key": "k"}):
                job = call(one, "enqueue_job", type="t", **options)[0]["id"]
            call(one, "cancel_job", job_id=job)
    runs = claim(one, 3)
    assert complete(one, runs[0]) == "done"


def claim(one: Connection, limit: int) -> list[Row]:
    return call(one, "claim_jobs", worker_id=WORKER, queues=["default"], types=["t"], limit=limit, alive="1 day")


def complete(one: Connection, run: Row) -> str:
    return str(call(one, "complete_jobs", results=json.dumps([item(run, "succeeded")]))[0]["answer"])


def run(cluster: Cluster, program: str, *options: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program of the server's own version; an older pg_dump refuses a newer server."""
    binary = cluster.server.installation.bindir / program
    if not binary.is_file():
        print(reason := f"{cluster.server.installation} comes without {program}")
        pytest.skip(reason)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return subprocess.run([binary, *options], input=text, capture_output=True, text=True, env=environment, check=False)


def dump(cluster: Cluster, user: str, *options: str) -> str:
    """The text of a dump that went well."""
    done = run(cluster, "pg_dump", f"--dbname={cluster.dsn('app', user)}", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(cluster: Cluster, user: str, *options: str) -> str:
    """What a dump said that failed."""
    done = run(cluster, "pg_dump", f"--dbname={cluster.dsn('app', user)}", *options)
    assert done.returncode != 0
    return done.stderr


def rows(dumped: str) -> int:
    """How many rows of our tables there are in the text of a dump."""
    blocks = re.findall(r"^COPY jobforge\.(?!alembic).*\n((?s:.*?))^\\\.", dumped, re.MULTILINE)
    return sum(block.count("\n") for block in blocks)


def stored(cluster: Cluster, database: str) -> dict[str, list[str]]:
    """Everything in our tables; looked at as superuser."""
    with cluster.connect(database) as look:
        tables = look.execute(
            "select relname from pg_class where relnamespace = 'jobforge'::regnamespace and relkind = 'r'"
        )
        return {
            table["relname"]: [
                str(row)
                for row in look.execute(
                    f"select to_jsonb(t)::text as row from jobforge.{table['relname']} t order by 1".encode()
                )
            ]
            for table in tables.fetchall()
        }


def total(cluster: Cluster) -> int:
    return sum(len(found) for table, found in stored(cluster, "app").items() if table != "alembic_version")


def difference(cluster: Cluster, database: str) -> list[str]:
    """What is other than in "app", of definitions, owners and rights."""
    before, after = (snapshot(cluster.engine(name)).splitlines() for name in ("app", database))
    lines = difflib.unified_diff(before, after, n=0, lineterm="")
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


# --- there -------------------------------------------------------------------------------------------------


def test_a_superuser_dumps_all_rows(cluster: Cluster) -> None:
    assert rows(dump(cluster, "postgres")) == total(cluster) > 10


def test_a_migrator_dumps_all_rows_as_owner_and_the_rest_as_itself(cluster: Cluster) -> None:
    assert rows(dump(cluster, "migrator", *OWNER)) == total(cluster)
    rest = dump(cluster, "migrator", "--exclude-schema=jobforge")
    assert "COPY public.orders" in rest
    assert "jobforge." not in rest
    assert "permission denied for table orders" in refusal(cluster, "migrator", *OWNER[:2])  # the owner owns ours only


def test_a_plain_dump_by_a_role_under_the_policies_fails_loudly(cluster: Cluster) -> None:
    for user in ("heir", "migrator"):
        said = refusal(cluster, user, "--schema=jobforge")
        assert "affected by row-level security" in said or "permission denied" in said
    assert "affected by row-level security" in refusal(cluster, "migrator", OWNER[0], OWNER[2])


def test_row_security_without_becoming_the_owner_dumps_nothing_and_says_nothing(cluster: Cluster) -> None:
    """The trap: the exit status is 0 and the file looks whole. A migrator inherits on Postgres 15, or where told to."""
    dumped = dump(cluster, "heir", *OWNER[1:])
    assert "COPY jobforge.jobs" in dumped
    assert rows(dumped) == 0


@pytest.mark.parametrize("options", [[], ["--enable-row-security"], ["--schema=jobforge", "--enable-row-security"]])
def test_the_application_cannot_dump_the_schema(cluster: Cluster, options: list[str]) -> None:
    assert "permission denied" in refusal(cluster, "one", *options)


# --- and back ----------------------------------------------------------------------------------------------


@pytest.fixture
def back(cluster: Cluster) -> Iterator[str]:
    """The name of a fresh database."""
    cluster.run("create database back owner migrator")
    yield "back"
    cluster.run("drop database back with (force)")


def restore(cluster: Cluster, user: str, file: Path, *options: str) -> None:
    done = run(cluster, "pg_restore", "--exit-on-error", f"--dbname={cluster.dsn('back', user)}", *options, str(file))
    assert done.returncode == 0, done.stderr


def check_that_it_works(cluster: Cluster, back: str) -> None:
    """Runs go on and end, jobs come and go, tenants are apart."""
    with cluster.connect(back) as look:
        held = look.execute("select job_id, token as lease_token from jobforge.leases").fetchall()
    with cluster.connect(back, "one") as one:
        assert {complete(one, run) for run in held} == {"done"}
        assert len(held) == 2
        with acting(one, "a"):
            mine = call(one, "enqueue_job", type="t")[0]["id"]
            twin = call(one, "enqueue_job", type="t", idempotency_key="k")[0]
        assert twin["created"] is False
        runs = claim(one, 100)
        assert mine in {run["job_id"] for run in runs}
        assert {complete(one, run) for run in runs} == {"done"}
        assert call(one, "audit") == []
        with acting(one, "b"):
            assert call(one, "get_job", job_id=mine) == []
    with cluster.connect(back, "narrow") as app:
        assert app.execute("select from jobforge.jobs").fetchall() == []
        with acting(app, "a"):
            assert {row["tenant_id"] for row in app.execute("select tenant_id from jobforge.jobs").fetchall()} == {"a"}
        with refused("JF001"):
            call(app, "enqueue_job", type="t")
        with refused("42501"):
            app.execute("select token from jobforge.leases")


def test_a_superusers_dump_comes_back_whole_and_works(cluster: Cluster, back: str) -> None:
    script = dump(cluster, "postgres")
    done = run(cluster, "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", cluster.dsn(back), text=script)
    assert done.returncode == 0, done.stderr

    assert difference(cluster, back) == []
    assert stored(cluster, back) == stored(cluster, "app")
    check_that_it_works(cluster, back)
    migrate.upgrade(cluster.engine(back, "migrator"))


def test_a_migrators_dump_comes_back_without_any_superuser_and_works(
    cluster: Cluster, back: str, tmp_path: Path
) -> None:
    """The two lines after it are needed: the dump of one schema holds no default privileges of a role."""
    dump(cluster, "migrator", *OWNER, "--format=custom", f"--file={tmp_path / 'ours'}")
    cluster.run(f"grant create on database {back} to jobforge_owner", database=back, user="migrator")
    restore(cluster, "migrator", tmp_path / "ours", "--role=jobforge_owner")

    assert stored(cluster, back) == stored(cluster, "app")
    assert [line for line in difference(cluster, back) if "default privileges" not in line] == []
    cluster.run("set role jobforge_owner", *CLOSE, database=back, user="migrator")
    assert difference(cluster, back) == []
    check_that_it_works(cluster, back)


def test_an_upgrade_closes_what_the_dump_of_the_schema_left_open(cluster: Cluster, back: str, tmp_path: Path) -> None:
    dump(cluster, "migrator", *OWNER, "--format=custom", f"--file={tmp_path / 'ours'}")
    cluster.run(f"grant create on database {back} to jobforge_owner", database=back, user="migrator")
    restore(cluster, "migrator", tmp_path / "ours", "--role=jobforge_owner")

    migrate.upgrade(cluster.engine(back, "migrator"))
    assert difference(cluster, back) == []


def test_a_restore_that_gives_everything_to_the_restorer_is_refused_by_the_next_upgrade(
    cluster: Cluster, back: str, tmp_path: Path
) -> None:
    """With --no-owner the definer functions run as whoever restored: as a superuser, without any policy."""
    dump(cluster, "postgres", "--format=custom", f"--file={tmp_path / 'all'}")
    restore(cluster, "postgres", tmp_path / "all", "--no-owner")

    with pytest.raises(CommandError, match="belongs to another role than jobforge_owner"):
        migrate.upgrade(cluster.engine(back))
