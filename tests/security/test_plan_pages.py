"""What a page of a tenant's jobs reads, under the policies and whatever the planner last saw. Pages, never times.

50,000 jobs of 500 tenants, one of whom has 40 % of them: `huge` has 20,000, `tenant-0077` and its like have 100.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from benchmarks import crowd
from jobforge_sa.models import Job
from tests.fix_postgres import Database
from tests.sql.test_plans import pages
from tests.support import one_database

DIALECT: Any = postgresql.dialect  # SQLAlchemy leaves it untyped
JOBS, TENANTS, SHARE, PAGE = 50_000, 500, 40, 50
TABLES = ("jobs", "attempts", "outcomes", "ready", "scheduled", "leases")
HAS = {"huge": 20_000, "tenant-0077": 100}
MIX = {None: 1.0, "queued": 0.05, "scheduled": 0.01, "running": 0.01, "succeeded": 0.9, "dead": 0.02, "canceled": 0.01}

LOOK = 8  # to find a job and its place: 3 pages of an index and one of a table, twice
PLACES = 4  # without a state each place is looked at until the job is found, and most stand in the fourth
# the catalog, current_tenant() for each policy, and the narrow rows of which the newest are taken: a tenant's ready
# ones come in another order, and the leases of all are read, for no index of theirs begins with the tenant
FEW = 100


ASKED = [(user, state, tenant) for user in ("jf_app", "jf_admin", "jf_one") for state in MIX for tenant in HAS]


@pytest.fixture(scope="module", params=["nothing", "empty tables", "all"])
def crowded(request: pytest.FixtureRequest, admin_url: sa.URL, template: str) -> Iterator[Database]:
    """The crowd; its parameter is what the planner has seen of it."""
    with one_database(admin_url, template) as database:
        with database.engine().begin() as c:
            for table in TABLES:  # else autovacuum would tell the planner at a moment of its own
                c.exec_driver_sql(f"alter table jobforge.{table} set (autovacuum_enabled = off)")
            if request.param == "empty tables":
                c.exec_driver_sql("analyze")
            no_parameters = {"no_parameters": True}
            crowd.fill(
                lambda script: c.exec_driver_sql(script, execution_options=no_parameters),
                JOBS, TENANTS, share=SHARE, size=1500,
            )  # fmt: skip
            if request.param == "all":
                c.exec_driver_sql("analyze")
        yield database


def newest(state: str | None) -> str:
    """The newest jobs, as an application asks for them."""
    asked = sa.select(Job).order_by(Job.id.desc()).limit(PAGE)
    asked = asked if state is None else asked.where(Job.state == state)
    return str(asked.compile(dialect=DIALECT(), compile_kwargs={"literal_binds": True}))


def read(connection: sa.Connection, tenant: str, call: str) -> int:
    """The pages of the second call: the first of a session reads the catalog as well."""
    for _ in range(2):
        connection.execute(sa.text("select set_config('jobforge.tenant_id', :tenant, true)"), {"tenant": tenant})
        found = pages(connection, call.replace(":", "\\:"))
    return found


@pytest.mark.parametrize(("user", "state", "tenant"), ASKED)
def test_a_page_of_list_jobs_reads_no_more_for_a_tenant_with_many(
    crowded: Database, user: str, state: str | None, tenant: str
) -> None:
    given = "null" if state is None else f"'{state}'"
    with crowded.engine(user).connect() as c:
        found = read(c, tenant, f"select * from jobforge.list_jobs({given}, p_limit => {PAGE})")
    assert found < PAGE * LOOK * (PLACES if state is None else 1) + FEW


@pytest.mark.parametrize(("user", "tenant"), [("jf_admin", ""), ("jf_one", "huge"), ("jf_app", "tenant-0077")])
def test_statistics_read_the_newest_jobs_and_not_the_history(crowded: Database, user: str, tenant: str) -> None:
    with crowded.engine(user).connect() as c:
        found = read(c, tenant, f"select * from jobforge.job_stats(now() - interval '1 day', p_limit => {10 * PAGE})")
    assert found < min(10 * PAGE, HAS.get(tenant, JOBS)) * 2 * LOOK + FEW  # a job, its attempts and its outcome


@pytest.mark.parametrize("tenant", HAS)
@pytest.mark.parametrize("state", MIX)
def test_a_select_of_jobs_reads_the_tenants_own_and_nobody_elses(
    crowded: Database, state: str | None, tenant: str
) -> None:
    with crowded.engine("jf_app").connect() as c:
        found = read(c, tenant, newest(state))
    # of all that fit, for a view over several tables gives no order that a LIMIT could end early: pages are list_jobs'
    assert found < HAS[tenant] * MIX[state] * LOOK + FEW


def test_a_policy_that_calls_the_function_for_each_row_would_be_found(crowded: Database) -> None:
    with crowded.engine().connect() as c:
        for table in TABLES:
            for policy in ("tenant", "wall"):
                c.exec_driver_sql(
                    f"alter policy {table}_{policy} on jobforge.{table} using (tenant_id = jobforge.current_tenant())"
                )
        c.exec_driver_sql("set local role jf_app")
        assert read(c, "tenant-0077", newest("running")) > 1 * LOOK + FEW
        c.rollback()
