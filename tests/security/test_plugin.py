"""The pytest plugin, in runs of pytest of its own: what a user writes, and what the user reads when it fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points

import pytest
import sqlalchemy as sa

import jobforge_sa.testing.database
import jobforge_sa.testing.isolation  # noqa: F401 - inner runs forget what they import, in parts
from jobforge_sa.tenant import TenantKey
from tests.fix_postgres import Database
from tests.house import markdown
from tests.house.source import ROOT
from tests.support import one_database

TESTING = ROOT / "docs" / "testing.md"

SHOP = """
    from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

    class Base(DeclarativeBase): ...

    class Order(Base):
        __tablename__ = "orders"
        id: Mapped[int] = mapped_column(primary_key=True)
        tenant_id: Mapped[str]
        total: Mapped[int]

    def cancel_order(session, order_id):
        order = session.get(Order, order_id)
        if order is not None:
            order.total = 0
        return order is not None
"""
CANCEL = (
    "create function cancel_order(p_id int) returns boolean language plpgsql {} as "
    "$$ begin update orders set total = 0 where id = p_id; return found; end $$"
)
OPEN = "alter table orders disable row level security; drop policy tenant on orders"


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Database]:
    with one_database(admin_url, template) as database:
        yield database


@pytest.fixture
def database(shared: Database) -> Database:
    """An application's table, walled, and a function that is bound by its policies."""
    run(
        shared,
        "drop table if exists orders cascade",
        "drop function if exists cancel_order",
        "create table orders (id serial primary key, tenant_id text not null, total int not null)",
        "alter table orders enable row level security",
        "create policy tenant on orders using (tenant_id = (select jobforge.current_tenant()))",
        "grant select, insert, update, delete on orders to jf_app",
        "grant usage on orders_id_seq to jf_app",
        CANCEL.format("security invoker"),
    )
    return shared


def run(database: Database, *statements: str) -> None:
    with database.engine().begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def python_of_the_page() -> list[str]:
    """What the page has of isolation; the rest is run by tests/testing/test_page.py."""
    blocks = [block.text for block in markdown.blocks(TESTING) if block.language == "python"]
    return blocks[next(place for place, text in enumerate(blocks) if "TEST_DATABASE_URL" in text) :]


def left(database: Database) -> int:
    with database.engine().connect() as connection:
        return int(connection.scalar(sa.text("select count(*) from orders")) or 0)


@pytest.fixture
def signed(suite: pytest.Pytester, database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.Pytester]:
    """The same project with the page's tenants, where tenancy is signed."""
    key = TenantKey.generate("k1")
    monkeypatch.setenv("JOBFORGE_TENANT_KEY", key.text())
    run(
        database,
        f"select jobforge.add_tenant_key('k1', decode('{key.secret.hex()}', 'hex'))",
        "select jobforge.use_tenancy('signed')",
    )
    suite.makeconftest("\n".join(python_of_the_page()[:2]))
    yield suite
    run(database, "select jobforge.use_tenancy('plain')", "delete from jobforge.tenant_keys")


@pytest.fixture
def suite(pytester: pytest.Pytester, database: Database, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A user's project: the page's conftest.py and tests, word by word."""
    conftest, _, tests = python_of_the_page()
    monkeypatch.setenv("TEST_DATABASE_URL", database.url("jf_app").render_as_string(hide_password=False))
    pytester.makeconftest(conftest)
    pytester.makepyfile(shop=SHOP, test_shop=tests)
    pytester.makeini("[pytest]\nfilterwarnings = error")
    return pytester


def test_the_tests_of_the_page_pass_for_an_application_that_is_isolated(
    suite: pytest.Pytester, database: Database
) -> None:
    suite.runpytest("-v").assert_outcomes(passed=3)
    assert left(database) == 0


def test_they_pass_where_tenancy_is_signed_with_the_tenants_of_the_page(
    signed: pytest.Pytester, database: Database
) -> None:
    signed.runpytest("-v").assert_outcomes(passed=3)
    assert left(database) == 0


def test_they_fail_where_tenancy_is_signed_and_a_policy_believes_the_setting(
    signed: pytest.Pytester, database: Database
) -> None:
    run(database, "alter policy tenant on orders using (tenant_id = current_setting('jobforge.tenant_id', true))")
    result = signed.runpytest("--tb=short")

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["E *tenant 'tenant-b', whose SQL sets jobforge.tenant_id and request.jwt.claims to the other's, is shown*"]
    )
    result.stdout.fnmatch_lines(["E *create policy orders_tenant on orders using (tenant_id = (select jobforge.curr*"])
    assert left(database) == 0


def test_tenants_that_are_not_signed_prove_nothing_where_tenancy_is(signed: pytest.Pytester) -> None:
    signed.makeconftest(python_of_the_page()[0])
    result = signed.runpytest("--tb=short")

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["E *tenancy is signed in this database, and the tenants of the test are not"])
    result.stdout.fnmatch_lines(['E *return key.tenant("tenant-a"), key.tenant("tenant-b")'])


def test_each_of_them_fails_for_one_that_is_not(suite: pytest.Pytester, database: Database) -> None:
    run(database, OPEN)
    result = suite.runpytest("--tb=short")

    result.assert_outcomes(failed=3)
    said = next(block.text for block in markdown.blocks(TESTING) if block.text.startswith("Order is not isolated"))
    wanted = [line.replace("id=1", "id=*").replace("[", "[[]") for line in said.splitlines()]
    result.stdout.fnmatch_lines([f"E  *{line.strip()}" for line in wanted])
    result.stdout.fnmatch_lines(["*the select is not isolated: of a new row of tenant 'tenant-a', tenant 'tenant-b'*"])
    result.stdout.fnmatch_lines(["*cancel_order does not refuse a foreign tenant: *gave True and made 1 UPDATE of*"])


def test_a_function_with_its_owners_rights_is_found(suite: pytest.Pytester, database: Database) -> None:
    run(database, "drop function cancel_order", CANCEL.format("security definer"))
    result = suite.runpytest()

    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["E*cancel_order does not refuse*it gave (True,) and made 1 UPDATE of public.orders"])


def test_a_failure_points_at_the_users_line_and_at_none_of_ours(suite: pytest.Pytester, database: Database) -> None:
    run(database, OPEN)
    result = suite.runpytest("--tb=short", "-k", "isolated")

    result.stdout.fnmatch_lines(["test_shop.py:*: in test_orders_are_isolated"])
    assert not [line for line in result.outlines if "jobforge_sa/testing" in line or "contextlib" in line]


def test_a_superuser_is_told_that_it_proves_nothing(
    suite: pytest.Pytester, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_DATABASE_URL", database.url().render_as_string(hide_password=False))
    result = suite.runpytest()

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["E*this would prove nothing: the login * is a superuser, and no policy binds it"] * 3)


def test_who_has_given_no_engine_and_has_no_server_reads_what_to_do(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JOBFORGE_TEST_DATABASE_URL", raising=False)
    monkeypatch.setenv("JOBFORGE_PG_BINDIR", "/nowhere")
    pytester.makepyfile("def test_orders(isolation): ...")
    result = pytester.runpytest()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["JOBFORGE_PG_BINDIR=/nowhere holds no working*", "*write into conftest.py*"])
    result.stdout.fnmatch_lines(["*def jobforge_engine():*"])
    assert not [line for line in result.outlines if "Traceback" in line or "plugin.py" in line]


def test_tenants_of_the_applications_own_are_used(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_shop="""
        import pytest
        from shop import Order

        @pytest.fixture
        def jobforge_tenants():
            return 7, 8

        def test_orders(isolation):
            isolation.assert_isolated(Order, make=lambda tenant: Order(tenant_id=str(tenant), total=1))
            with isolation.as_tenant(8) as session:
                session.add(Order(tenant_id="8", total=1))
                session.flush()
        """
    )
    suite.runpytest().assert_outcomes(passed=1)


def test_the_plugin_is_found_by_its_entry_point_and_can_be_left_out(pytester: pytest.Pytester) -> None:
    found = [one.value for one in entry_points(group="pytest11") if one.name == "jobforge"]
    assert found == ["jobforge_sa.testing.plugin"]
    pytester.makepyfile("def test_orders(isolation): ...")
    result = pytester.runpytest_subprocess("-p", "no:jobforge")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'isolation' not found"])


def test_a_run_of_pytest_that_asks_for_nothing_loads_nothing(pytester: pytest.Pytester) -> None:
    """It is loaded for everybody who has the package: half a second of SQLAlchemy would be theirs in every run."""
    pytester.makepyfile(
        """
        import sys

        def test_loaded():
            assert "jobforge_sa.testing.plugin" in sys.modules
            roots = {name.split(".")[0] for name in sys.modules}
            assert roots.isdisjoint({"sqlalchemy", "pydantic", "psycopg", "alembic"})
        """
    )
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_the_assertions_need_no_pytest() -> None:
    script = "import sys, jobforge_sa.testing.isolation; sys.exit('pytest' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
