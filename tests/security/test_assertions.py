"""The assertions that users have: what is isolated passes, and every way of not being so is found and explained."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from jobforge_sa import JobForge, Jobs
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.models import Attempt, Job
from jobforge_sa.testing.isolation import Isolation, NotIsolated, ProvesNothing
from tests.fix_postgres import Database
from tests.support import one_database

MINE = "(tenant_id = (select jobforge.current_tenant()))"
ASKED = "current_setting('jobforge.tenant_id', true)"
SETTING = f"(tenant_id = {ASKED})"
FOR_ALL = f"create policy tenant on shop.orders using {MINE} with check {MINE}"
READ = f"create policy reads on shop.orders for select using {MINE}"
ADD = f"create policy adds on shop.orders for insert with check {MINE}"
CHANGE = f"create policy changes on shop.orders for update using {MINE} with check {MINE}"
REMOVE = f"create policy removes on shop.orders for delete using {MINE}"


class Base(DeclarativeBase):
    metadata = sa.MetaData(schema="shop")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    total: Mapped[int] = mapped_column(default=10)
    touched: Mapped[int] = mapped_column(default=0, onupdate=1)
    lines: Mapped[list[Line]] = relationship(back_populates="order", cascade="all, delete-orphan")


class Line(Base):
    __tablename__ = "lines"
    tenant_id: Mapped[str] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey(Order.id), primary_key=True)
    order: Mapped[Order] = relationship(back_populates="lines")


class Item(Base):
    """Whose it is, says its order."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(sa.ForeignKey(Order.id))
    label: Mapped[str] = mapped_column(default="")
    order: Mapped[Order] = relationship()


def item(tenant: str) -> Item:
    return Item(order=Order(tenant_id=tenant))


class Zoo(DeclarativeBase):
    metadata = sa.MetaData(schema="shop")


class Animal(Zoo):
    __tablename__ = "animals"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]


class Cat(Animal):
    __tablename__ = "cats"
    id: Mapped[int] = mapped_column(sa.ForeignKey(Animal.id), primary_key=True)
    owner_id: Mapped[str] = mapped_column("tenant_id")


class Odd(Zoo):
    __tablename__ = "Odd Things"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    tenant: Mapped[uuid.UUID] = mapped_column("Tenant Id")
    tags: Mapped[dict[str, int]] = mapped_column(JSONB, default={"a": 1})
    twice: Mapped[int] = mapped_column(sa.Integer, sa.Computed("1 + 1", persisted=True))


class Part(Zoo):
    __tablename__ = "select"
    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    odd: Mapped[uuid.UUID] = mapped_column("Odd", sa.ForeignKey(Odd.id))
    whole: Mapped[Odd] = relationship()


class OpenOrder(Base):
    """A view, which is made by the tests that want it."""

    __table__ = sa.Table(
        "open_orders",
        sa.MetaData(schema="shop"),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.Text),
        sa.Column("total", sa.Integer),
    )


def order(tenant: str) -> Order:
    return Order(tenant_id=tenant)


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Database]:
    with one_database(admin_url, template) as database:
        yield database


class Shop:
    """An application's schema, made anew for each test with the policies that the test wants."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.admin = database.engine(isolation_level="AUTOCOMMIT")
        self.sql("drop schema if exists shop cascade; create schema shop")
        Base.metadata.create_all(self.admin)
        self.sql(
            "grant usage on schema shop to jf_app; "
            "grant select, insert, update, delete on all tables in schema shop to jf_app; "
            "grant all on all sequences in schema shop to jf_app; alter table shop.lines enable row level security; "
            f"create policy tenant on shop.lines using {MINE}"
        )

    def sql(self, statements: str) -> None:
        with self.admin.connect() as connection:
            connection.exec_driver_sql(statements.replace("%", "%%"))

    def walled(self, *policies: str) -> Shop:
        self.sql("; ".join(["alter table shop.orders enable row level security", *policies]))
        return self

    def isolation(self, user: str = "jf_app") -> Isolation:
        return Isolation(self.database.engine(user), ("a", "b"))

    def order(self, tenant: str, **values: Any) -> int:
        with self.admin.connect() as connection:
            statement = sa.insert(Order).values(tenant_id=tenant, **values).returning(Order.id)
            return int(connection.execute(statement).scalar_one())

    def count(self) -> int:
        with self.admin.connect() as connection:
            return int(connection.scalar(sa.text("select count(*) from shop.orders")) or 0)


@pytest.fixture
def shop(shared: Database) -> Iterator[Shop]:
    shop = Shop(shared)
    yield shop
    shared.dispose()


# --- models: what passes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "policies",
    [
        [FOR_ALL],
        [f"create policy tenant on shop.orders using {SETTING}"],
        [READ, ADD, CHANGE, REMOVE],
        [READ, ADD, "revoke update on shop.orders from jf_app", REMOVE],
        [READ, ADD, "revoke update on shop.orders from jf_app; grant update (total) on shop.orders to jf_app", REMOVE],
        [FOR_ALL, "create unique index on shop.orders (total, tenant_id)"],
    ],
)
def test_a_model_that_is_isolated_passes_and_nothing_of_the_test_stays(shop: Shop, policies: list[str]) -> None:
    shop.walled(*policies).isolation().assert_isolated(Order, make=order)

    assert shop.count() == 0


def test_rows_that_are_there_already_will_do_and_stay_as_they_were(shop: Shop) -> None:
    shop.walled(FOR_ALL)
    for tenant in "aabb":
        shop.order(tenant, total=7)
    shop.isolation().assert_isolated(Order)

    with shop.admin.connect() as connection:
        rows = connection.execute(sa.text("select tenant_id, total, touched from shop.orders order by id")).all()
    assert [tuple(row) for row in rows] == [("a", 7, 0), ("a", 7, 0), ("b", 7, 0), ("b", 7, 0)]


def test_a_model_with_children_is_made_and_taken_away_with_them(shop: Shop) -> None:
    def with_lines(tenant: str) -> Order:
        return Order(tenant_id=tenant, lines=[Line(tenant_id=tenant)])

    isolation = shop.walled(FOR_ALL).isolation()
    isolation.assert_isolated(Order, make=with_lines)
    isolation.assert_isolated(Line, make=with_lines)

    assert shop.count() == 0


def test_tenants_may_be_uuids_and_a_cast_that_fails_without_one_is_closed(shop: Shop) -> None:
    rule = "(tenant_id::uuid = current_setting('jobforge.tenant_id', true)::uuid)"
    shop.walled(f"create policy tenant on shop.orders using {rule}")
    isolation = Isolation(shop.database.engine("jf_app"), (uuid.UUID(int=1), uuid.UUID(int=2)))

    isolation.assert_isolated(Order, make=lambda tenant: Order(tenant_id=str(tenant)))


def test_a_trigger_that_names_the_tenant_itself_keeps_out_rows_for_others(shop: Shop) -> None:
    shop.walled(READ, "create policy adds on shop.orders for insert with check (true)", CHANGE, REMOVE)
    shop.sql(
        "create function shop.own() returns trigger language plpgsql as "
        "$$ begin new.tenant_id := jobforge.current_tenant(); return new; end $$; "
        "create trigger own before insert on shop.orders for each row execute function shop.own()"
    )
    shop.isolation().assert_isolated(Order, make=order)


def test_jobs_and_attempts_are_isolated(shop: Shop) -> None:
    forge = JobForge()

    @forge.task()
    def nothing(ctx: Any, payload: dict[str, int]) -> None: ...

    isolation = shop.isolation()
    for tenant in isolation.tenants:
        with isolation.as_tenant(tenant, commit=True) as session:
            Jobs(session).enqueue(nothing, {"n": 1})

    isolation.assert_isolated(Job)
    isolation.assert_isolated(sa.select(Job).where(Job.state == "queued"))
    with pytest.raises(ProvesNothing, match="Attempt shows no rows to tenant 'a'"):
        isolation.assert_isolated(Attempt)


def test_an_async_engine_will_do(shop: Shop) -> None:
    engine = create_async_engine(shop.database.url("jf_app").set(drivername="postgresql+asyncpg"))
    shop.walled(FOR_ALL)

    Isolation(engine, ("a", "b")).assert_isolated(Order, make=order)


# --- models: what fails ------------------------------------------------------------------------------------

OPEN = "create policy {0} on shop.orders for {1} "
MUTANTS: dict[str, tuple[list[str], str]] = {
    "no policy asked": (
        ["alter table shop.orders disable row level security"],
        r"of a new row of tenant 'a', tenant 'b' is shown 1 row, the first: id=\d+\n +why: .* not enabled on shop",
    ),
    "using (true)": (
        ["create policy everybody on shop.orders using (true)"],
        r"tenant 'b' is shown 1 row, .*\n  why: what shop.orders has:\n +policy everybody for all using \(true\)",
    ),
    "open where never set": (
        [f"create policy tenant on shop.orders using ({SETTING} or {ASKED} is null)"],
        "a connection that never had a tenant is shown 1 row",
    ),
    "open where empty": (
        [f"create policy tenant on shop.orders using ({SETTING} or {ASKED} = '')"],
        "a transaction with an empty tenant is shown 1 row",
    ),
    "a second policy that opens": (
        [FOR_ALL, "create policy reports on shop.orders for select using (total > 5)"],
        r"tenant 'b' is shown 1 row, .*\n(.*\n)*.*policy reports for select using \(\(total > 5\)\)",
    ),
    "insert": (
        [READ, "create policy adds on shop.orders for insert with check (true)", CHANGE, REMOVE],
        r"tenant 'a' can insert a row for tenant 'b', such as id=\d+\n(.*\n)*.*adds for insert with check \(true\)",
    ),
    "give": (
        [READ, ADD, f"create policy changes on shop.orders for update using {MINE} with check (true)", REMOVE],
        r"tenant 'a' can make its rows tenant 'b''s by an UPDATE",
    ),
    "take": (
        [READ, ADD, f"create policy changes on shop.orders for update using (true) with check {MINE}", REMOVE],
        "tenant 'a' sees 1 row, and its UPDATE without a WHERE hits 2",
    ),
    "take, though unique": (
        [
            READ, ADD, f"create policy changes on shop.orders for update using (true) with check {MINE}", REMOVE,
            "create unique index on shop.orders (total, tenant_id)",
        ],
        "tenant 'a' sees 1 row, and its UPDATE without a WHERE hits more",
    ),
    "change a column": (
        [
            READ, ADD, "create policy changes on shop.orders for update using (true)", REMOVE,
            "revoke update on shop.orders from jf_app; grant update (total) on shop.orders to jf_app",
        ],
        "tenant 'a' sees 1 row, and its UPDATE without a WHERE hits 2",
    ),
    "delete": (
        [READ, ADD, CHANGE, "create policy removes on shop.orders for delete using (true)"],
        "tenant 'a' sees 1 row, and its DELETE without a WHERE hits 2",
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_what_leaks_is_found_and_explained(shop: Shop, mutant: str) -> None:
    policies, message = MUTANTS[mutant]
    shop.walled(*policies)
    with pytest.raises(NotIsolated, match=message) as caught:
        shop.isolation().assert_isolated(Order, make=order)

    assert str(caught.value).startswith("Order is not isolated: ")
    assert shop.count() == 0  # also where it fails nothing stays


@pytest.mark.parametrize("mutant", [name for name in MUTANTS if "though" not in name])
def test_it_is_found_among_rows_that_are_there_already(shop: Shop, mutant: str) -> None:
    shop.walled(*MUTANTS[mutant][0])
    for tenant in "ab":
        shop.order(tenant)
    with pytest.raises(NotIsolated, match="Order is not isolated"):
        shop.isolation().assert_isolated(Order)

    assert shop.count() == 2


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_cure_that_is_named_cures(shop: Shop, mutant: str) -> None:
    shop.walled(*MUTANTS[mutant][0])
    with pytest.raises(NotIsolated) as caught:
        shop.isolation().assert_isolated(Order, make=order)
    shop.sql(str(caught.value).partition("  cure: ")[2])

    shop.isolation().assert_isolated(Order, make=order)


def test_the_cures_fit_names_that_must_be_quoted_and_a_child_of_uuids(shop: Shop) -> None:
    Zoo.metadata.create_all(
        shop.admin, [table for table in Zoo.metadata.sorted_tables if table.name in ("Odd Things", "select")]
    )
    shop.sql('grant all on shop."Odd Things", shop."select" to jf_app')
    isolation = Isolation(shop.database.engine("jf_app"), (uuid.UUID(int=1), uuid.UUID(int=2)))
    makes: dict[type[Any], Callable[[Any], object]] = {
        Odd: lambda tenant: Odd(tenant=tenant),
        Part: lambda tenant: Part(whole=Odd(tenant=tenant)),
    }
    for model, make in makes.items():
        for message in ("row level security is not enabled on", "holds TRUNCATE and TRIGGER on"):
            with pytest.raises(NotIsolated, match=message) as caught:
                isolation.assert_isolated(model, make=make)
            shop.sql(str(caught.value).partition("  cure: ")[2])
        isolation.assert_isolated(model, make=make)


def test_a_tenant_that_may_not_store_its_own_is_told(shop: Shop) -> None:
    with pytest.raises(ProvesNothing, match="tenant 'a' may not store its own: new row violates"):
        shop.walled().isolation().assert_isolated(Order, make=order)


def test_a_row_that_its_tenant_does_not_see_proves_nothing(shop: Shop) -> None:
    with pytest.raises(ProvesNothing, match=r"what make\('a'\) stored, Order does not show to tenant 'a'"):
        shop.walled(FOR_ALL).isolation().assert_isolated(Order, make=lambda _: [])
    with pytest.raises(ProvesNothing, match="Order shows no rows to tenant 'a'"):
        shop.isolation().assert_isolated(Order)


def test_a_connection_that_no_policy_binds_proves_nothing(shop: Shop) -> None:
    shop.walled(FOR_ALL)
    with pytest.raises(ProvesNothing, match='the login "postgres" is a superuser'):
        shop.isolation("postgres").assert_isolated(Order, make=order)
    with pytest.raises(ProvesNothing, match='the login "postgres" is a superuser'):
        shop.isolation("postgres").assert_isolated(sa.select(Order), make=order)
    with pytest.raises(ProvesNothing, match='the login "postgres" is a superuser'):
        shop.isolation("postgres").assert_refuses("shop.nothing", 1)

    shop.sql("alter table shop.orders owner to jf_app")
    with pytest.raises(ProvesNothing, match='"jf_app" acts as the owner of shop') as caught:
        shop.isolation().assert_isolated(Order, make=order)
    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Order, make=order)


def test_an_engine_in_autocommit_is_refused(shop: Shop) -> None:
    isolation = Isolation(shop.database.engine("jf_app", isolation_level="AUTOCOMMIT"))
    with pytest.raises(ConfigurationError, match="AUTOCOMMIT"), isolation.as_tenant("a"):
        pass


def test_rows_that_an_open_transaction_holds_are_an_error_and_no_hang(shop: Shop) -> None:
    shop.walled(FOR_ALL)
    keys = [shop.order(tenant) for tenant in "ab"]
    isolation = shop.isolation()
    with isolation.as_tenant("a") as session:
        session.execute(sa.update(Order).where(Order.id == keys[0]).values(total=1))
        with pytest.raises(ProvesNothing, match="a transaction that is still open holds rows of shop"):
            isolation.assert_isolated(Order)


# --- models: what no row of the test meets, and what goes past the policies ---------------------------------

VIEW = (
    "alter table shop.orders alter touched set default 0; "
    "create view shop.open_orders as select id, tenant_id, total from shop.orders where tenant_id = {}; {}"
)
GRANT = "grant select, insert, update, delete on shop.open_orders to jf_app"
ITS_ORDERS = "exists (select from shop.orders o where o.id = order_id)"


def test_a_view_that_shows_its_own_rows_and_takes_others_is_found_and_cured(shop: Shop) -> None:
    shop.walled(FOR_ALL)
    shop.sql(VIEW.format("jobforge.current_tenant()", GRANT))
    with pytest.raises(NotIsolated, match=r"OpenOrder is not isolated: .* can insert a row for tenant 'b'") as caught:
        shop.isolation().assert_isolated(OpenOrder, make=order)
    assert "shop.open_orders is a view with the rights of postgres" in str(caught.value)

    shop.sql("alter view shop.open_orders set (check_option = cascaded)")
    shop.isolation().assert_isolated(OpenOrder, make=order)
    shop.sql("alter view shop.open_orders reset (check_option)")
    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(OpenOrder, make=order)
    assert shop.count() == 0


def test_a_view_with_a_check_option_is_not_blamed_where_a_constraint_speaks_first(shop: Shop) -> None:
    shop.walled(FOR_ALL).sql(VIEW.format("jobforge.current_tenant() with check option", GRANT))
    shop.isolation().assert_isolated(OpenOrder, make=order)
    shop.sql("alter table shop.orders alter touched drop default")
    shop.isolation().assert_isolated(OpenOrder, make=order)


def test_a_view_does_not_hide_that_its_table_can_be_used_without_it(shop: Shop) -> None:
    shop.sql(VIEW.format("jobforge.current_tenant() with check option", GRANT))
    with pytest.raises(NotIsolated, match=r"jf_app may use shop\.orders, a table of shop\.open_orders, by") as caught:
        shop.isolation().assert_isolated(OpenOrder, make=order)

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(OpenOrder, make=order)


@pytest.mark.parametrize("unique", ["", "create unique index on shop.items (order_id)"])
def test_a_child_must_not_be_moved_to_the_other_tenants_parent(shop: Shop, unique: str) -> None:
    shop.walled(FOR_ALL).sql(
        "alter table shop.items enable row level security; "
        f"create policy reads on shop.items for select using ({ITS_ORDERS}); "
        f"create policy adds on shop.items for insert with check ({ITS_ORDERS}); "
        f"create policy changes on shop.items for update using ({ITS_ORDERS}) with check (true); "
        f"create policy removes on shop.items for delete using ({ITS_ORDERS}); {unique}"
    )
    with pytest.raises(NotIsolated, match=r"can make its rows tenant 'b''s by an UPDATE of order_id, such") as caught:
        shop.isolation().assert_isolated(Item, make=item)

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Item, make=item)


def test_the_table_of_the_superclass_is_tried_too(shop: Shop) -> None:
    shop.sql(
        "create table shop.animals (id serial primary key, tenant_id varchar not null, name text); "
        "create table shop.cats (id int primary key references shop.animals, tenant_id varchar not null); "
        "alter table shop.cats enable row level security; "
        f"create policy tenant on shop.cats using {MINE}; "
        "grant select, insert, update, delete on shop.animals, shop.cats to jf_app; "
        "grant usage on shop.animals_id_seq to jf_app"
    )
    with pytest.raises(NotIsolated, match=r"Cat is not isolated: .*(.*\n)*.*not enabled on shop\.animals") as caught:
        shop.isolation().assert_isolated(Cat, make=lambda tenant: Cat(tenant_id=tenant, owner_id=tenant))

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Cat, make=lambda tenant: Cat(tenant_id=tenant, owner_id=tenant))


PARTITIONED = (
    "drop table shop.items, shop.lines, shop.orders; create table shop.orders (id int generated always as identity, "
    "tenant_id text, total int, touched int, primary key (id, tenant_id)) partition by hash (tenant_id); "
    "create table shop.orders_0 partition of shop.orders for values with (modulus 1, remainder 0) "
    "partition by hash (tenant_id); "
    "create table shop.deep partition of shop.orders_0 for values with (modulus 1, remainder 0); "
    "grant select, insert, update, delete on all tables in schema shop to jf_app"
)


def test_partitions_are_found_that_can_be_used_by_their_own_names(shop: Shop) -> None:
    shop.sql(PARTITIONED)
    shop.walled(FOR_ALL)
    for name in ("deep", "orders_0"):
        with pytest.raises(NotIsolated, match=rf"may use shop\.{name}, a partition or child of shop\.orders") as caught:
            shop.isolation().assert_isolated(Order, make=lone_order)
        shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Order, make=lone_order)

    shop.sql("create policy everybody on shop.deep using (true)")
    shop.isolation().assert_isolated(Order, make=lone_order, meant_policies=["everybody"])
    with pytest.raises(NotIsolated, match=r"shop\.deep has others: policy everybody for all using \(true\)") as caught:
        shop.isolation().assert_isolated(Order, make=lone_order)
    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Order, make=lone_order)


def lone_order(tenant: str) -> Order:
    return Order(tenant_id=tenant, lines=[])


def test_partitions_that_the_login_has_no_rights_on_are_closed(shop: Shop) -> None:
    shop.sql(PARTITIONED)
    shop.walled(FOR_ALL).sql("revoke all on shop.deep, shop.orders_0 from jf_app")
    shop.isolation().assert_isolated(Order, make=lone_order)

    shop.sql("grant update (total) on shop.deep to jf_app")
    with pytest.raises(NotIsolated, match=r"may use shop\.deep, a partition"):
        shop.isolation().assert_isolated(Order, make=lone_order)


def test_a_parent_without_policies_shows_the_rows_of_its_child(shop: Shop) -> None:
    shop.walled(FOR_ALL).sql(
        "create table shop.things (tenant_id varchar); grant select on shop.things to jf_app; "
        "alter table shop.orders inherit shop.things"
    )
    with pytest.raises(NotIsolated, match=r"may use shop\.things, a parent of shop\.orders, by its") as caught:
        shop.isolation().assert_isolated(Order, make=order)

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Order, make=order)


LOOSE = [
    "for select using (total is null)",
    f"using ({MINE} or total > 99)",
    f"using (coalesce(tenant_id, {ASKED}) = {ASKED})",
    f"using (tenant_id = any (array[{ASKED}, 'shared']))",
    f"using (tenant_id = coalesce({ASKED}, 'shared'))",
    "using (exists (select from shop.lines l where l.order_id = id or total > 99))",
    f"using (tenant_id = case when total > 99 then tenant_id else {ASKED} end)",
    "for delete using (shop.is_old(total))",
    f"for update using {MINE} with check (total > 99)",
    "using (exists (select from shop.free f where f.total = orders.total))",
]


@pytest.mark.parametrize("policy", LOOSE)
def test_a_policy_that_no_row_of_the_test_meets_is_found(shop: Shop, policy: str) -> None:
    shop.sql(
        "create function shop.is_old(int) returns boolean language sql as 'select $1 > 99'; "
        "create table shop.free as select 1 as total; grant select on shop.free to jf_app"
    )
    shop.walled(FOR_ALL, f"create policy reports on shop.orders {policy}")
    with pytest.raises(NotIsolated, match=r"reports on shop\.orders lets through rows by another rule") as caught:
        shop.isolation().assert_isolated(Order, make=order)

    shop.isolation().assert_isolated(Order, make=order, meant_policies=["reports"])
    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Order, make=order)


@pytest.mark.parametrize(
    "policy",
    [
        f"for select using ({MINE} and (total > 5 or touched = 0))",
        f"for select using ({SETTING} or {MINE})",
        "using (jobforge.current_tenant() = (tenant_id)::text)",
        "using (tenant_id = nullif(current_setting('jobforge.tenant_id', true), ''))",
        "using (tenant_id in (select jobforge.current_tenant()))",
        "for select to jf_admin using (total > 99)",
        f"for select using (total > 99); create policy wall on shop.orders as restrictive using {MINE}",
        "for select using (false)",
    ],
)
def test_a_policy_that_keeps_to_the_tenant_or_is_not_the_logins_passes(shop: Shop, policy: str) -> None:
    shop.walled(FOR_ALL, f"create policy more on shop.orders {policy}").isolation().assert_isolated(Order, make=order)


def test_a_login_that_may_truncate_or_add_a_trigger_is_not_kept_by_policies(shop: Shop) -> None:
    shop.walled(FOR_ALL).sql("grant truncate on shop.orders to jf_app; grant trigger on shop.orders to public")
    with pytest.raises(NotIsolated, match=r"login jf_app holds TRUNCATE and TRIGGER on shop\.orders") as caught:
        shop.isolation().assert_isolated(Order, make=order)
    assert str(caught.value).endswith("  cure: revoke truncate, trigger on shop.orders from jf_app, public;")

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(Order, make=order)


# --- queries -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        sa.select(Order),
        sa.select(Order.total).where(Order.total > 5),
        sa.select(sa.func.count(), sa.func.sum(Order.total)).select_from(Order),
        sa.select(Order).options(sa.orm.joinedload(Order.lines)),
        sa.union(sa.select(Order.id), sa.select(Order.total)),
        sa.text("select array_agg(id) from shop.orders"),
    ],
    ids=["entities", "columns", "counts", "joined", "union", "text"],
)
def test_a_query_over_an_isolated_table_passes_and_over_an_open_one_fails(shop: Shop, query: Any) -> None:
    shop.walled(FOR_ALL).isolation().assert_isolated(query, make=order)

    shop.sql("create policy reports on shop.orders for select using (true)")
    with pytest.raises(NotIsolated, match="the select is not isolated: of a new row of tenant 'a', tenant 'b' is"):
        shop.isolation().assert_isolated(query, make=order)


def test_a_query_that_does_not_show_the_rows_proves_nothing(shop: Shop) -> None:
    with pytest.raises(ProvesNothing, match="the select does not show to tenant 'a'"):
        shop.walled(FOR_ALL).isolation().assert_isolated(sa.select(Order).where(Order.total > 99), make=order)


def test_a_view_with_its_owners_rights_leaks(shop: Shop) -> None:
    shop.walled(FOR_ALL)
    shop.sql("create view shop.open_orders as select * from shop.orders; grant select on shop.open_orders to jf_app")
    view = sa.Table("open_orders", sa.MetaData(schema="shop"), sa.Column("id", sa.Integer))
    with pytest.raises(NotIsolated, match="open_orders is a view with the rights of postgres") as caught:
        shop.isolation().assert_isolated(sa.select(view.c.id), make=order)

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(sa.select(view.c.id), make=order)


@pytest.mark.parametrize(
    "query",
    [sa.select(sa.table("open_orders", sa.column("id"), schema="shop")), sa.text("select id from shop.open_orders")],
    ids=["table", "text"],
)
def test_of_a_view_that_leaks_the_reason_is_told_however_it_is_named(shop: Shop, query: Any) -> None:
    shop.walled(FOR_ALL)
    shop.sql("create view shop.open_orders as select * from shop.orders; grant select on shop.open_orders to jf_app")
    with pytest.raises(NotIsolated, match=r"why: shop\.open_orders is a view with the rights of postgres") as caught:
        shop.isolation().assert_isolated(query, make=order)
    assert str(caught.value).endswith("  cure: alter view shop.open_orders set (security_invoker = true);")

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_isolated(query, make=order)


def test_a_function_with_its_owners_rights_leaks_in_a_query_too(shop: Shop) -> None:
    shop.walled(FOR_ALL)
    shop.sql(
        "create function shop.turnover() returns bigint language sql security definer as "
        "'select coalesce(sum(total), 0) from shop.orders'"
    )
    with pytest.raises(NotIsolated, match="tenant 'b' is shown 1 row, the first: 10") as caught:
        shop.isolation().assert_isolated(sa.select(sa.func.shop.turnover()), make=order)
    assert "why: it calls a function that has the rights of its owner" in str(caught.value)
    assert "policy" not in str(caught.value)


# --- functions ---------------------------------------------------------------------------------------------

FUNCTION = (
    "create function shop.cancel(p_id int, p_tenant_id text default null) returns {0} language plpgsql {1} as "
    "$$ begin {2} end $$"
)
CANCEL = "update shop.orders set total = 0 where id = p_id {0}; "
GOOD: dict[str, tuple[str, str, str]] = {
    "bound by policies": ("boolean", "", CANCEL.format("") + "return found;"),
    "void": ("void", "", CANCEL.format("")),
    "checks": ("boolean", "security definer", CANCEL.format(f"and {MINE}") + "return found;"),
    "raises": (
        "int", "", CANCEL.format("") + "if not found then raise exception 'no such order'; end if; return p_id;",
    ),
}  # fmt: skip
BAD: dict[str, tuple[str, str, str, str]] = {
    "trusts its argument": (
        "boolean", "security definer", CANCEL.format("and tenant_id = p_tenant_id") + "return found;",
        r"shop.cancel does not refuse .* called by tenant 'a' .* tenant 'b''s, it gave \(True,\) and made 1 UPDATE",
    ),
    "changes in silence": ("void", "security definer", CANCEL.format(""), r"it made 1 UPDATE of shop\.orders"),
    "gives": (
        "setof shop.orders", "security definer", "return query select * from shop.orders where id = p_id;",
        r"it gave \(\d+, 'b', 10, 0\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", GOOD)
def test_a_function_that_refuses_passes(shop: Shop, kind: str) -> None:
    returns, rights, body = GOOD[kind]
    shop.walled(FOR_ALL)
    shop.sql(FUNCTION.format(returns, rights, body))
    theirs = shop.order("b")

    shop.isolation().assert_refuses("shop.cancel", theirs)
    shop.isolation().assert_refuses("shop.cancel", p_id=theirs, p_tenant_id="b")
    with pytest.raises(ProvesNothing, match=r"shop\.cancel .* for tenant 'b' either"):
        shop.isolation().assert_refuses("shop.cancel", theirs + 1)


@pytest.mark.parametrize("kind", BAD)
def test_a_function_that_does_it_for_anybody_fails(shop: Shop, kind: str) -> None:
    returns, rights, body, message = BAD[kind]
    shop.walled(FOR_ALL)
    shop.sql(FUNCTION.format(returns, rights, body))
    theirs = shop.order("b")
    with pytest.raises(NotIsolated, match=message):
        shop.isolation().assert_refuses("shop.cancel", theirs, p_tenant_id="b")

    with shop.admin.connect() as connection:  # the call was undone
        assert connection.scalar(sa.select(Order.total).where(Order.id == theirs)) == 10


def fetch(session: Session, key: int) -> Order | None:
    return session.get(Order, key)


def fetch_one(session: Session, key: int) -> Order:
    return session.scalars(sa.select(Order).where(Order.id == key)).one()


def change(session: Session, key: int) -> None:
    session.get_one(Order, key).total = 1
    session.commit()


def change_in_bulk(session: Session, key: int) -> Any:
    return session.execute(sa.update(Order).where(Order.id == key).values(total=1))


def fetch_all(session: Session, key: int) -> Any:
    return session.scalars(sa.select(Order).where(Order.id == key))


@pytest.mark.parametrize("function", [fetch, fetch_one, change, change_in_bulk, fetch_all])
def test_a_python_function_refuses_by_the_policies_and_not_without(shop: Shop, function: Callable[..., Any]) -> None:
    shop.walled(FOR_ALL)
    theirs = shop.order("b")
    shop.isolation().assert_refuses(function, theirs)

    shop.sql("create policy everybody on shop.orders using (true)")
    with pytest.raises(NotIsolated, match=rf"{function.__name__} does not refuse a foreign tenant"):
        shop.isolation().assert_refuses(function, theirs)
    with shop.admin.connect() as connection:
        assert connection.scalar(sa.select(Order.total).where(Order.id == theirs)) == 10


def test_a_table_that_all_tenants_share_is_not_blamed(shop: Shop) -> None:
    shop.walled(FOR_ALL).sql(
        "create table shop.rates (rate int); insert into shop.rates values (2); grant select on shop.rates to jf_app"
    )
    shop.sql(FUNCTION.format("boolean", "security definer", CANCEL.format("") + "return found;"))

    def cancel(session: Session, key: int) -> Any:
        session.execute(sa.text("select rate from shop.rates"))
        return session.scalar(sa.select(sa.func.shop.cancel(key)))

    with pytest.raises(NotIsolated, match="why: no table that it touched is open, so it calls a function"):
        shop.isolation().assert_refuses(cancel, shop.order("b"))


@pytest.mark.parametrize("function", [fetch, change, change_in_bulk])
@pytest.mark.parametrize(
    "open_", ["alter table shop.orders disable row level security", OPEN.format("everybody", "all") + "using (true)"]
)
def test_of_a_function_over_an_open_table_the_table_is_told(shop: Shop, function: Any, open_: str) -> None:
    theirs = shop.walled(FOR_ALL, open_).order("b")
    with pytest.raises(NotIsolated, match=r"why: (row level security is not enabled on|what) shop\.orders") as caught:
        shop.isolation().assert_refuses(function, theirs)
    assert "DEFINER" not in str(caught.value)

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_refuses(function, theirs)


def test_a_function_that_may_only_read_the_foreign_row_is_found_all_the_same(shop: Shop) -> None:
    theirs = shop.walled(FOR_ALL, OPEN.format("reads", "select") + "using (true)").order("b")
    with pytest.raises(NotIsolated, match="it was shown a row that its UPDATE then did not hit") as caught:
        shop.isolation().assert_refuses(change, theirs)
    assert "policy reads for select using (true)" in str(caught.value)

    shop.sql(str(caught.value).partition("  cure: ")[2])
    shop.isolation().assert_refuses(change, theirs)


def test_an_owner_that_may_not_change_its_own_row_proves_nothing(shop: Shop) -> None:
    theirs = shop.walled(READ, ADD).order("b")
    with pytest.raises(ProvesNothing, match=r"change raises StaleDataError\(.* for tenant 'b' either"):
        shop.isolation().assert_refuses(change, theirs)


@pytest.mark.parametrize("kind", BAD)
def test_of_a_function_with_its_owners_rights_these_are_told(shop: Shop, kind: str) -> None:
    returns, rights, body, _ = BAD[kind]
    shop.walled(FOR_ALL).sql(FUNCTION.format(returns, rights, body))
    with pytest.raises(NotIsolated, match="why: it is SECURITY DEFINER: the rights of its owner"):
        shop.isolation().assert_refuses("shop.cancel", shop.order("b"), p_tenant_id="b")


def test_errors_and_tables_of_the_applications_own_can_be_named(shop: Shop) -> None:
    class NotFound(Exception): ...

    def fetch_or_log(session: Session, key: int) -> None:
        if session.get(Order, key) is None:
            session.add(Order(tenant_id="a"))
            session.flush()
            return
        session.execute(sa.update(Order).where(Order.id == key).values(total=1))

    def fetch_or_raise(session: Session, key: int) -> Order:
        if (found := session.get(Order, key)) is None:
            raise NotFound
        return found

    theirs = shop.walled(FOR_ALL).order("b")
    isolation = shop.isolation()
    isolation.assert_refuses(fetch_or_raise, theirs, raises=NotFound)
    isolation.assert_refuses(fetch_or_log, theirs, may_change=["shop.orders"])
    with pytest.raises(NotFound):
        isolation.assert_refuses(fetch_or_raise, theirs)
    with pytest.raises(NotIsolated, match=r"made 1 INSERT into shop\.orders"):
        isolation.assert_refuses(fetch_or_log, theirs)


def test_an_error_that_is_no_refusal_is_raised(shop: Shop) -> None:
    with pytest.raises(DBAPIError, match="does not exist"):
        shop.isolation().assert_refuses("shop.nothing", 1)
    with pytest.raises(ConfigurationError, match="is no name of a function"):
        shop.isolation().assert_refuses("select 1; --", 1)
    with pytest.raises(ConfigurationError, match="no foreign tenant to itself"):
        shop.isolation().assert_refuses("shop.nothing", 1, tenant="b")


def test_the_functions_of_the_schema_refuse(shop: Shop) -> None:
    forge = JobForge()

    @forge.task()
    def nothing(ctx: Any, payload: dict[str, int]) -> None: ...

    isolation = shop.isolation()
    with isolation.as_tenant("b", commit=True) as session:
        theirs = Jobs(session).enqueue(nothing, {"n": 1}).id
    for name in ("get_job", "cancel_job", "reschedule_job"):
        isolation.assert_refuses(f"jobforge.{name}", theirs)
    isolation.assert_refuses("jobforge.enqueue_job", "t", p_tenant_id="b")
    isolation.assert_refuses(lambda session: Jobs(session).cancel(theirs))
    isolation.assert_refuses(lambda session: session.get(Job, theirs))


# --- acting as a tenant ------------------------------------------------------------------------------------


def test_what_a_tenant_does_is_undone_its_own_commits_included(shop: Shop) -> None:
    isolation = shop.walled(FOR_ALL).isolation()
    with isolation.as_tenant("a") as session:
        session.add(order("a"))
        session.commit()
        assert session.scalar(sa.select(sa.func.jobforge.current_tenant())) == "a"
        session.rollback()
        assert len(session.scalars(sa.select(Order)).all()) == 1
    assert shop.count() == 0

    with isolation.as_tenant("a", commit=True) as session:
        session.add(kept := order("a"))
    assert kept.id
    assert shop.count() == 1
    with isolation.as_nobody() as session:
        assert session.scalars(sa.select(Order)).all() == []


def test_a_block_that_raises_commits_nothing(shop: Shop) -> None:
    isolation = shop.walled(FOR_ALL).isolation()

    def break_off() -> None:
        with isolation.as_tenant("a", commit=True) as session:
            session.add(order("a"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert shop.count() == 0


def test_two_tenants_that_are_one_are_refused(shop: Shop) -> None:
    with pytest.raises(ConfigurationError, match="two different tenants"):
        Isolation(shop.database.engine("jf_app"), ("1", 1))
