"""`jobforge smoke`: it looks, it finds what is broken, it says what it did not try, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from jobforge_sa import TenantKey
from jobforge_sa.ops import database as databases
from jobforge_sa.ops.smoke.ground import Ground
from jobforge_sa.ops.smoke.run import Smoke, Step
from jobforge_sa.ops.smoke.steps import Steps
from jobforge_sa.tenant import KEY_VARIABLE
from tests.acceptance.cli import inside, refused
from tests.fix_postgres import Database
from tests.security.pgbouncer import pgbouncer
from tests.support import Clock

PARTS = ["schema", "enqueue", "isolation", "cancel", "claim", "pause", "run", "rescue", "clean-up"]
TABLES = (
    "jobs", "attempts", "outcomes", "ready", "scheduled", "leases", "workers", "idempotency_keys", "unique_keys",
    "results", "artifacts", "waits", "lines", "cancel_requests", "limits",
)  # fmt: skip


def left(database: Database) -> dict[str, int]:
    with database.engine().connect() as connection:
        count = {name: connection.scalar(sa.text(f"select count(*) from jobforge.{name}")) for name in TABLES}
    return {name: number for name, number in count.items() if number}


def run(sql: str, database: Database) -> None:
    with database.engine().begin() as connection:
        connection.exec_driver_sql(sql)


def smoked(database: Database, *more: str, user: str = "jf_app", status: int = 0) -> dict[str, Any]:
    """The steps by name."""
    done = inside(database.url(user), "smoke", "--json", *more, status=status)
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert [step["step"] for step in steps] == PARTS
    return {step["step"]: step for step in steps}


def logins(database: Database) -> list[str]:
    return [f"--{name}-url={database.dsn(f'jf_{name}')}" for name in ("worker", "admin")]


def test_all_parts_pass_with_three_logins_and_nothing_is_left(database: Database) -> None:
    steps = smoked(database, *logins(database))

    assert {step["status"] for step in steps.values()} == {"passed"}
    assert left(database) == {}


def test_what_a_login_may_not_is_skipped_with_what_would_allow_it_and_that_is_status_3(database: Database) -> None:
    done = inside(database.url("jf_app"), "smoke", status=3).stdout

    assert "3 passed" not in done
    for part, words in (
        ("claim", "grant jobforge_worker"),
        ("pause", "grant jobforge_worker"),
        ("clean-up", "jobforge_admin"),
    ):
        (line,) = [line for line in done.splitlines() if line.split()[1:2] == [part]]
        assert line.startswith("skipped")
        assert words in line
    assert "jobforge tenants purge jobforge-smoke-" in done
    assert left(database).keys() == {"jobs", "outcomes", "idempotency_keys"}, "it is all canceled"


def test_open_policies_and_a_completion_that_breaks_are_found_and_cleaned_up_behind(database: Database) -> None:
    run(
        "drop policy jobs_wall on jobforge.jobs; create policy open on jobforge.jobs for select using (true);", database
    )
    for table in ("outcomes", "ready", "scheduled"):
        run(
            f"drop policy {table}_wall on jobforge.{table};"
            f"create policy open on jobforge.{table} for select using (true);",
            database,
        )
    run(
        "create function public.no() returns trigger language plpgsql as $$begin raise 'no room'; end$$;"
        "create trigger no before insert on jobforge.results for each row execute function public.no();",
        database,
    )

    steps = smoked(database, *logins(database), "--within=3", status=1)

    assert steps["isolation"]["status"] == "failed"
    assert "another tenant sees" in steps["isolation"]["says"]
    assert steps["run"]["status"] == "failed"
    assert "no room" in steps["run"]["says"]
    assert steps["clean-up"]["status"] == "passed"
    assert left(database) == {}


@pytest.mark.parametrize(
    ("function", "role", "part"),
    [("enqueue_job", "app", "enqueue"), ("claim_jobs", "worker", "claim"), ("pause_tenant", "admin", "pause")],
)
def test_a_right_that_was_taken_away_is_found(database: Database, function: str, role: str, part: str) -> None:
    run(f"revoke execute on function jobforge.{function} from jobforge_{role}", database)
    if role == "app":
        run("revoke execute on function jobforge.enqueue_job from jobforge_admin", database)

    found = smoked(database, *logins(database), "--within=2", status=1)[part]

    assert found["status"] == "failed"
    assert function in found["says"]
    assert left(database) == {}


def test_who_cannot_begin_is_status_2(database: Database) -> None:
    refused(inside(database.url("jf_worker"), "smoke", status=2), "jobforge_app")
    refused(inside(None, "smoke", "--url", "postgresql://u@127.0.0.1:1/d", status=2), "no connection")


def test_an_interrupt_leaves_nothing_either(database: Database) -> None:
    app, worker, admin = (databases.engine(database.dsn(user)) for user in ("jf_app", "jf_worker", "jf_admin"))
    work = Smoke(Ground(app, worker, admin, within=10))

    def interrupt(step: Step) -> None:
        if step.step == "claim":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work.run(interrupt)
    assert [step.step for step in work.steps] == [*PARTS[:5], "clean-up"]
    assert left(database) == {}


def test_a_slow_line_is_no_reason_for_other_workers_to_rescue_what_it_holds(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, worker, admin = (databases.engine(database.dsn(user)) for user in ("jf_app", "jf_worker", "jf_admin"))
    ground, clock, complete = Ground(app, worker, admin, within=10), Clock(database), Ground.complete

    def late(*arguments: Any) -> str:
        clock.advance(seconds=3)
        run("select * from jobforge.upkeep(gen_random_uuid())", database)
        return complete(*arguments)

    monkeypatch.setattr(Ground, "complete", late)
    assert Steps(ground).claim().startswith("one lease")


def test_it_works_behind_pgbouncer_where_tenants_are_signed(database: Database) -> None:
    key = TenantKey.generate("k")
    with database.engine().begin() as connection:
        connection.execute(sa.text("select jobforge.add_tenant_key('k', :secret)"), {"secret": key.secret})
        connection.exec_driver_sql("select jobforge.use_tenancy('signed')")
    refused(inside(database.url("jf_app"), "smoke", status=2), KEY_VARIABLE)
    with pgbouncer(database) as bouncer:
        urls = {user: bouncer.url(f"jf_{user}").render_as_string() for user in ("app", "worker", "admin")}
        arguments = [f"--url={urls['app']}", f"--worker-url={urls['worker']}", f"--admin-url={urls['admin']}"]
        done = inside(None, "smoke", *arguments, **{KEY_VARIABLE: key.text()})  # type: ignore[arg-type]
    assert "9 passed" in done.stdout
    assert left(database) == {}
