"""docs/testing.md as a user would follow it: a project with a history of its own, in runs of pytest of its own."""

from __future__ import annotations

import re
from textwrap import dedent

import alembic.command
import alembic.config  # noqa: F401 - inner runs forget what they import, in parts
import pytest
import sqlalchemy as sa

import jobforge_sa.migrations
import jobforge_sa.testing.isolation
import jobforge_sa.testing.jobs  # noqa: F401
from jobforge_sa.testing.database import Database
from tests.house import markdown
from tests.house.source import ROOT

PAGE = ROOT / "docs" / "testing.md"
FILES = re.compile(r'^```python title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)

REVISION = """
    from alembic import op

    from jobforge_sa import migrations

    revision, down_revision = "a", None

    def upgrade():
        migrations.upgrade("0002", frm="base")
        op.execute("create table orders (id serial primary key, tenant_id text not null, "
                   "total int not null, shipped bool not null default false)")
        op.execute("alter table orders enable row level security")
        op.execute("create policy orders_tenant on orders using (tenant_id = (select jobforge.current_tenant()))")
"""
TASKS = """
    @pytest.fixture(scope="session")
    def jobforge_tasks():
        return shop.forge
"""
OWN_TABLES = """
    import pytest

    import shop

    @pytest.fixture(scope="session")
    def jobforge_migrate():
        return shop.Base.metadata.create_all
"""


def files_of_the_page() -> dict[str, str]:
    return dict(FILES.findall(markdown.read(PAGE)))


@pytest.fixture
def project(pytester: pytest.Pytester, jobforge_server: sa.URL, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The files of the page, word by word, and what it takes for granted: an Alembic history."""
    monkeypatch.setenv("JOBFORGE_TEST_DATABASE_URL", jobforge_server.render_as_string(hide_password=False))
    (pytester.path / "migrations" / "versions").mkdir(parents=True)
    for name, text in files_of_the_page().items():
        (pytester.path / name).write_text(text)
    pytester.makefile(".ini", alembic="[alembic]\nscript_location = migrations\npath_separator = os")
    pytester.makeini("[pytest]\nfilterwarnings = error")
    pytester.makepyfile(**{"migrations/versions/a": REVISION})
    return pytester


def test_the_tests_of_the_page_pass(project: pytest.Pytester) -> None:
    project.runpytest("-v").assert_outcomes(passed=5)


def test_an_env_that_migrates_another_database_is_told(
    project: pytest.Pytester, bare_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that Alembic has made does, which knows no connection but its own."""
    monkeypatch.setenv("DATABASE_URL", bare_database.url().render_as_string(hide_password=False))
    env = project.path / "migrations" / "env.py"
    env.write_text(env.read_text().replace('.get("connection")', '.get("nothing")'))
    project.makepyfile(test_orders="def test_it(jobs): pass")
    result = project.runpytest("test_orders.py")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*jobforge_migrate made nothing*", "*cure: *env.py use config.attributes*docs/testing.md"]
    )


def test_each_of_them_can_fail(project: pytest.Pytester) -> None:
    shop = files_of_the_page()["shop.py"]
    for line in ("        raise ValueError(", "    order.shipped = True", "    Jobs(ctx.session).enqueue(", "return f"):
        assert line in shop
    broken = shop.replace("    order.shipped = True", "    order.shipped = False").replace("return f", "return ")
    broken = broken.replace("days=7", "days=8").replace("nobody ships that", "no")
    (project.path / "shop.py").write_text(broken)
    project.runpytest("-v").assert_outcomes(failed=5)


def test_tenants_are_apart_on_the_same_database(project: pytest.Pytester) -> None:
    isolation = next(b.text for b in markdown.blocks(PAGE) if "isolation.assert_isolated(Order" in b.text)
    project.makepyfile(test_isolation=isolation.partition("def test_nobody")[0])
    project.runpytest("-v", "test_isolation.py").assert_outcomes(passed=2)


def test_a_failure_is_as_on_the_page_and_points_at_the_users_line(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_orders="""
        from shop import place_order, ship

        def test_ship(jobforge_session, jobs):
            place_order(jobforge_session, "acme", total=1)
            jobs.assert_enqueued(ship, {"order_id": 7}, queue="default")

        def test_error(jobforge_session, jobs):
            place_order(jobforge_session, "acme", total=-1)
            jobs.drain()
        """
    )
    (project.path / "conftest.py").write_text(dedent(OWN_TABLES + TASKS))
    result = project.runpytest("test_orders.py", "--tb=short")

    result.assert_outcomes(failed=2)
    said = next(block.text for block in markdown.blocks(PAGE) if block.text.startswith("no job like this"))
    wanted = [re.sub(r"\([0-9a-f-]{36}\)", "(*)", line) for line in said.splitlines()]
    result.stdout.fnmatch_lines(["E  *" + line.strip() for line in wanted])
    result.stdout.fnmatch_lines(
        ["test_orders.py:*: in test_ship", "test_orders.py:*: in test_error", "shop.py:*: in ship"]
    )
    assert not [line for line in result.outlines if line.startswith(("jobforge_sa/testing", "/")) and ": in " in line]


def test_who_overrides_nothing_but_how_tables_are_made(project: pytest.Pytester) -> None:
    project.makeconftest(OWN_TABLES)
    project.makepyfile(
        test_orders="""
        from jobforge_sa.testing.drain import drain
        from shop import Order, forge, place_order, ship

        def test_ship(jobforge_session, jobs):
            place_order(jobforge_session, "acme", total=1)
            assert drain(jobforge_session, forge).counts == {"succeeded": 1}
            jobs.assert_enqueued(ship, state="succeeded")

        def test_nothing_is_left(jobforge_session, jobforge_database):
            assert jobforge_session.query(Order).all() == []
            with jobforge_database.engine("jobforge_tester").connect() as connection:
                assert connection.exec_driver_sql("select * from orders").all() == []

        def test_jobs(jobs):
            jobs.drain()
        """
    )
    result = project.runpytest("test_orders.py")

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(['the fixture "jobs" does not know your tasks. Write into conftest.py:'])


def test_an_engine_of_the_users_own_takes_the_place_of_all_that(
    project: pytest.Pytester, jobforge_database: Database
) -> None:
    url = jobforge_database.url("jobforge_tester").render_as_string(hide_password=False)
    project.makeconftest(
        f"""
        import pytest, sqlalchemy

        @pytest.fixture(scope="session")
        def jobforge_engine():
            return sqlalchemy.create_engine({url!r}, poolclass=sqlalchemy.NullPool)

        @pytest.fixture(scope="session")
        def jobforge_server():
            pytest.fail("no server is needed")
        """
    )
    project.makepyfile(
        test_own="""
        def test_name(jobforge_session):
            print(jobforge_session.connection().engine.url.database)
        """
    )
    result = project.runpytest("-s", "test_own.py")

    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([f"*{jobforge_database.name}*"])
