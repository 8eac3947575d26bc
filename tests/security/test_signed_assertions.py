"""Where tenancy is signed, what believes a setting that SQL can make is not isolated, and is found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from jobforge_sa.tenant import TenantKey
from jobforge_sa.testing.isolation import Isolation, NotIsolated, ProvesNothing
from tests.fix_postgres import Database
from tests.support import one_database

pytestmark = pytest.mark.filterwarnings("ignore::jobforge_sa.errors.PoolNotSealedWarning")

KEY = TenantKey.generate("k1")
ASKED = "(select jobforge.current_tenant())"
SETTING = "current_setting('jobforge.tenant_id', true)"
CLAIM = "(nullif(current_setting('request.jwt.claims', true), '')::jsonb #>> '{app_metadata,tenant_id}')"
CANCEL = (
    "create function cancel_note(p_id int) returns boolean language plpgsql security definer as "
    "$$ begin update notes set total = 0 where id = p_id and tenant_id = {}; return found; end $$"
)


class Base(DeclarativeBase): ...


class Note(Base):
    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    total: Mapped[int] = mapped_column(default=10)


def note(tenant: str) -> Note:
    return Note(tenant_id=tenant)


@pytest.fixture(scope="module")
def shared(admin_url: sa.URL, template: str) -> Iterator[Database]:
    with one_database(admin_url, template) as database:
        with database.engine().begin() as connection:
            add = sa.text("select jobforge.add_tenant_key('k1', :secret), jobforge.use_tenancy('signed')")
            connection.execute(add, {"secret": KEY.secret})
        yield database


class Notes:
    """The application's table, made anew with the policies that the test wants."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sql("drop table if exists notes cascade; drop function if exists cancel_note")
        Base.metadata.create_all(database.engine())
        self.sql(
            "alter table notes enable row level security; grant select, insert, update, delete on notes to jf_app; "
            "grant usage on notes_id_seq to jf_app"
        )
        self.isolation = Isolation(database.engine("jf_app"), (KEY.tenant("a"), KEY.tenant("b")))

    def sql(self, statements: str) -> None:
        with self.database.engine().begin() as connection:
            connection.exec_driver_sql(statements, execution_options={"no_parameters": True})

    def count(self) -> int:
        with self.database.engine().connect() as connection:
            return int(connection.scalar(sa.text("select count(*) from notes")) or 0)


@pytest.fixture
def notes(shared: Database) -> Iterator[Notes]:
    yield Notes(shared)
    shared.dispose()


def test_what_asks_for_the_token_passes_and_nothing_stays(notes: Notes) -> None:
    notes.sql(f"create policy t on notes using (tenant_id = {ASKED})")
    notes.sql(CANCEL.format(ASKED))

    notes.isolation.assert_isolated(Note, make=note)
    notes.isolation.assert_isolated(sa.select(sa.func.sum(Note.total)), make=note)
    with notes.isolation.stored(KEY.tenant("b"), note) as theirs:
        notes.isolation.assert_isolated(sa.select(sa.func.count()).select_from(Note), make=note)
        notes.isolation.assert_refuses("cancel_note", theirs.id)
    assert notes.count() == 0


@pytest.mark.parametrize("named", [SETTING, f"(select {SETTING})", CLAIM, f"coalesce({CLAIM}, {SETTING})"])
def test_a_policy_that_believes_what_sql_can_set_is_found(notes: Notes, named: str) -> None:
    # the claims are set by whoever injects, and by nobody else: the tenant's own rows are shown by its setting
    rule = f"tenant_id = coalesce({named}, {SETTING})"
    notes.sql(f"create policy t on notes using ({rule}) with check (tenant_id = {ASKED})")

    with pytest.raises(NotIsolated, match=r"whose SQL sets jobforge\.tenant_id .* is shown 1 row") as caught:
        notes.isolation.assert_isolated(Note, make=note)
    assert "using (tenant_id = (select jobforge.current_tenant()))" in str(caught.value)
    assert notes.count() == 0


def test_a_sum_that_believes_it_is_found(notes: Notes) -> None:
    notes.sql(f"create policy t on notes using (tenant_id = {SETTING})")
    with pytest.raises(NotIsolated, match=r"of a new row of tenant 'a', tenant 'b', whose SQL sets"):
        notes.isolation.assert_isolated(sa.select(sa.func.sum(Note.total)), make=note)
    assert notes.count() == 0


@pytest.mark.parametrize(
    ("command", "rule", "message"),
    [
        ("insert", "with check", r"tenant 'a' can insert a row for tenant 'b' by SQL that sets"),
        ("update", "using", r"tenant 'a' can UPDATE a row of tenant 'b' by SQL that sets"),
        ("delete", "using", r"tenant 'a' can DELETE a row of tenant 'b' by SQL that sets"),
    ],
)
def test_what_can_be_written_by_a_lie_is_found(notes: Notes, command: str, rule: str, message: str) -> None:
    for other in {"select", "insert", "update", "delete"} - {command}:
        clause = "with check" if other == "insert" else "using"
        notes.sql(f"create policy {other}s on notes for {other} {clause} (tenant_id = {ASKED})")
    notes.sql(f"create policy open on notes for {command} {rule} (tenant_id = {SETTING})")

    with pytest.raises(NotIsolated, match=message):
        notes.isolation.assert_isolated(Note, make=note)
    assert notes.count() == 0


def test_a_function_that_believes_it_is_found(notes: Notes) -> None:
    notes.sql(f"create policy t on notes using (tenant_id = {ASKED})")
    notes.sql(CANCEL.format(SETTING))

    with notes.isolation.stored(KEY.tenant("b"), note) as theirs:
        with pytest.raises(NotIsolated, match=r"called by tenant 'a', whose SQL sets .* 1 UPDATE of public\.notes"):
            notes.isolation.assert_refuses("cancel_note", theirs.id)

        def cancel(session: Session, id_: int) -> Any:
            return session.scalar(sa.select(sa.func.cancel_note(id_)))

        with pytest.raises(NotIsolated, match=r"cancel does not refuse a foreign tenant: called by tenant 'a', whose"):
            notes.isolation.assert_refuses(cancel, theirs.id)


@pytest.mark.parametrize("tenants", [("a", "b"), (KEY.tenant("a"), "b")])
def test_tenants_that_are_not_signed_prove_nothing(notes: Notes, tenants: tuple[Any, Any]) -> None:
    notes.sql(f"create policy t on notes using (tenant_id = {SETTING})")
    with pytest.raises(ProvesNothing, match="tenancy is signed in this database, and the tenants of the test are not"):
        Isolation(notes.database.engine("jf_app"), tenants).assert_isolated(Note, make=note)
    assert notes.count() == 0


@pytest.mark.parametrize("rule", [SETTING, CLAIM])
def test_a_policy_beside_the_right_one_must_not_believe_a_setting(notes: Notes, rule: str) -> None:
    notes.sql(f"create policy t on notes using (tenant_id = {ASKED}); create policy other on notes using (false)")
    notes.isolation.assert_isolated(Note, make=note)

    notes.sql(f"alter policy other on notes using (tenant_id = {rule} and total > 99)")
    with pytest.raises(NotIsolated, match="other on notes lets through rows by another rule") as caught:
        notes.isolation.assert_isolated(Note, make=note)
    notes.sql(str(caught.value).partition("  cure: ")[2])
    notes.isolation.assert_isolated(Note, make=note)


def test_whoever_owns_the_table_can_switch_its_policies_off(notes: Notes) -> None:
    notes.sql(
        f"create policy t on notes using (tenant_id = {ASKED}); alter table notes force row level security; "
        "alter table notes owner to jf_app; drop role if exists notes_owner"
    )
    with pytest.raises(NotIsolated, match="Note is not isolated: the login jf_app owns notes\n") as caught:
        notes.isolation.assert_isolated(Note, make=note)

    notes.sql(str(caught.value).partition("  cure: ")[2])
    notes.isolation.assert_isolated(Note, make=note)
    notes.sql("grant notes_owner to jf_app")
    with pytest.raises(NotIsolated, match="the login jf_app owns notes, as a member of notes_owner") as caught:
        notes.isolation.assert_isolated(Note, make=note)
    notes.sql(str(caught.value).partition("  cure: ")[2])
    notes.isolation.assert_isolated(Note, make=note)
    notes.sql("drop table notes; revoke all on schema public from notes_owner; drop role notes_owner")


def test_who_may_not_store_for_want_of_a_token_is_told(notes: Notes) -> None:
    notes.sql(f"create policy t on notes using (tenant_id = {ASKED})")
    plain = Isolation(notes.database.engine("jf_app"), ("a", "b"))
    message = r"tenancy is signed .*\n  cure: let the fixture jobforge_tenants"
    with pytest.raises(ProvesNothing, match=message), plain.stored("a", note):
        pass


def test_what_is_stored_for_a_block_goes_with_it(notes: Notes) -> None:
    notes.sql(f"create policy t on notes using (tenant_id = {ASKED})")

    with notes.isolation.stored(KEY.tenant("a"), lambda tenant: [note(tenant), note(tenant)]) as (one, other):
        assert (one.tenant_id, other.tenant_id) == ("a", "a")
        assert notes.count() == 2
    assert notes.count() == 0
    with pytest.raises(ZeroDivisionError), notes.isolation.stored(KEY.tenant("a"), note):
        raise ZeroDivisionError
    assert notes.count() == 0
