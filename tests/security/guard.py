"""Who attacks is who he says: no connection of an attack is a superuser's, and row level security binds each.

A superuser passes every wall, so a test that attacks as one is green whatever the database allows.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.rows import tuple_row

from jobforge_sa.db import migrate
from jobforge_sa.tenant import TenantKey
from jobforge_sa.testing.server import EmbeddedServer, ServerError
from tests.fix_postgres import ADMIN, Database, make_logins
from tests.support import Connection, Row, Sql, one_database

# by the catalog, for a stranger may not even name the table
_WHO = """
select r.rolname, r.rolsuper, r.rolbypassrls, row_security_active(c.oid)
  from pg_roles r, pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname = 'jobforge' and c.relname = 'jobs' and r.rolname in (session_user, current_user)"""


def inspect(connection: psycopg.Connection[Any]) -> None:
    """Fail where row level security does not bind who has connected."""
    rows = connection.cursor(row_factory=tuple_row).execute(_WHO).fetchall()
    assert rows, "nobody is connected, or there is no table jobforge.jobs"
    for name, is_super, bypasses, bound in rows:
        assert not is_super, f"an attack runs as the superuser {name}"
        assert not bypasses, f"an attack runs as {name}, who bypasses row level security"
        assert bound, f"row level security does not bind {name}"
    if not connection.autocommit:
        connection.rollback()


class Attack(Sql):
    """The database as an attacker sees it. The superuser only prepares the scene (`dba`) and looks at it (`look`)."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._preparing = threading.local()

    def connect(self, user: str = "jf_app", tenant: str | None = None, isolation: str | None = None) -> Connection:
        connection = super().connect(user)
        inspect(connection)
        if isolation is not None:
            connection.execute(f"set transaction isolation level {isolation}".encode())
        if tenant is not None:
            connection.execute("select set_config('jobforge.tenant_id', %s, true)", [tenant])
        return connection

    def session(self, user: str) -> Connection:
        known = self._sessions.get(user)
        session = super().session(user)
        if not getattr(self._preparing, "now", False) and (user == ADMIN or session is not known):
            inspect(session)
        return session

    def engine(self, user: str, **options: Any) -> sa.Engine:
        """An engine each of whose connections is looked at."""
        engine = self.database.engine(user, **options)
        sa.event.listen(engine, "connect", lambda connection, _: inspect(connection))
        return engine

    def url(self, user: str) -> sa.URL:
        """For who connects by himself, such as a command: the login is looked at here."""
        inspect(self.session(user))
        return self.database.url(user)

    def look(self, query: str, *values: object, user: str = ADMIN) -> list[Row]:
        with self._prepared():
            return super().look(query, *values, user=user)

    def state(self, job_id: uuid.UUID) -> str:
        """A job's state, without its payload: that one may be what Python cannot decode."""
        (row,) = self.look("select state from jobforge.all_jobs where id = %s", job_id, user="jf_admin")
        return str(row["state"])

    def clean(self) -> None:
        with self._prepared():
            super().clean()

    def dba(self, *statements: str) -> None:
        """Prepare the scene, as superuser."""
        with self._prepared():
            for statement in statements:
                self.session(ADMIN).execute(statement.encode())

    def owner(self, statement: str, *values: object) -> None:
        """Prepare the scene, as the owner of the schema."""
        with self._prepared(), self.session(ADMIN).transaction():
            self.session(ADMIN).execute("set local role jobforge_owner")
            self.session(ADMIN).execute(statement.encode(), values)

    def sign(self, key: TenantKey) -> None:
        """Prepare the scene: tenants count only with a token of this key."""
        self.owner("select jobforge.add_tenant_key(%s, %s), jobforge.use_tenancy('signed')", key.id, key.secret)

    def migrator(self) -> Connection:
        """A connection that acts as the owner of the schema, its transaction begun: no attacker has one."""
        connection = super().connect(ADMIN)
        connection.execute("set local role jobforge_owner")
        return connection

    def migrate(self) -> None:
        """What a DBA does with each release."""
        migrate.upgrade(self.database.engine(poolclass=sa.NullPool))

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        self._preparing.now = True
        try:
            yield
        finally:
            self._preparing.now = False


@pytest.fixture(scope="module")
def attacked(admin_url: sa.URL, template: str) -> Iterator[Attack]:
    """A database for attacks that leave nothing, or keep apart by tenant and queue."""
    with one_database(admin_url, template) as database:
        attack = Attack(database)
        with attack:
            yield attack


@pytest.fixture
def attack(attacked: Attack) -> Iterator[Attack]:
    """All jobs are the test's own."""
    attacked.clean()
    yield attacked
    attacked.clean()


@contextmanager
def cluster(**settings: str) -> Iterator[Attack]:
    """A server of its own, for attacks on what all its databases share."""
    server = EmbeddedServer(settings=settings)
    try:
        server.start()
    except ServerError as error:
        cause = next((line for line in str(error).splitlines() if "FATAL" in line), str(error).partition("\n")[0])
        pytest.skip(f"needs a cluster of its own: {cause.strip()}")
    url = sa.make_url(server.url_for(ADMIN)).set(drivername="postgresql+psycopg")
    try:
        attack = Attack(Database(url, ADMIN))
        with attack:
            attack.migrate()
            make_logins(attack.database.engine(poolclass=sa.NullPool))
            yield attack
    finally:
        server.stop()
