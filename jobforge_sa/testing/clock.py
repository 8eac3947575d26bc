"""A clock that the test owns: what the database takes for now, in the test's own transaction and nowhere else.

Every time of a job comes from `jobforge.now()`. In databases made for tests that reads a setting of the transaction
(`clock.sql` beside this file; docs/decisions/0022 says why so). Python's own clock goes on as it does.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, event, text

from jobforge_sa.errors import ConfigurationError
from jobforge_sa.testing._given import Given, connection_of

_FUNCTIONS = Path(__file__).with_name("clock.sql")
_SET = text("select pg_catalog.set_config('jobforge.clock', cast(:clock as pg_catalog.text), true)")
_STANDS = text("select coalesce(pg_catalog.current_setting('jobforge.clock', true), ''), jobforge.now()")
_SETTABLE = text(
    "select p.prosrc operator(pg_catalog.~) 'jobforge\\.clock' from pg_catalog.pg_proc p "
    "join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname = 'jobforge' and p.proname = 'now'"
)
_REAL = text("select pg_catalog.clock_timestamp()")

_held: WeakKeyDictionary[Connection, str] = WeakKeyDictionary()  # what a test has set, to be said again


class Clock:
    """The database's clock in the transaction of a session or connection. It goes on by itself until it is frozen.

    What has been set holds until the transaction ends, whatever is rolled back in it.

    Args:
        session: A `Session` or `Connection`. For an `AsyncSession`: `await session.run_sync(lambda it: Clock(it)...)`.
    """

    def __init__(self, session: Given) -> None:
        self._session = session

    def now(self) -> dt.datetime:
        """What the database takes for now."""
        return cast(dt.datetime, self._connection.execute(_STANDS).one()[1])

    def set(self, at: dt.datetime) -> dt.datetime:
        """Let it be that moment; a frozen clock stays frozen. Gives what is now.

        Raises:
            ConfigurationError: the moment has no time zone; the database has no clock that can be set.
        """
        if at.tzinfo is None:
            raise ConfigurationError(f"{at!r} has no time zone", cure="datetime(..., tzinfo=UTC)")
        return self._set(at, frozen=self.frozen)

    def move(self, by: dt.timedelta) -> dt.datetime:
        """Let so much time pass, or come back. Gives what is now."""
        return self.set(self.now() + by)

    def freeze(self, at: dt.datetime | None = None) -> dt.datetime:
        """Let it stand still, at that moment or where it is. Gives what is now."""
        return self._set(at or self.now(), frozen=True)

    def resume(self) -> dt.datetime:
        """Let it go on from where it stands. Gives what is now."""
        return self._set(self.now(), frozen=False)

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return str(self._connection.execute(_STANDS).one()[0]).startswith("@")

    @property
    def _connection(self) -> Connection:
        return connection_of(self._session)

    def _set(self, at: dt.datetime, *, frozen: bool) -> dt.datetime:
        connection = self._connection
        if not connection.scalar(_SETTABLE):
            raise ConfigurationError(
                "the clock of this database cannot be set: it was not made for tests",
                cure="use the plugin's databases (jobforge_session, jobforge_database), or make yours so, once, as its "
                "owner: jobforge_sa.testing.clock.make_settable(engine)",
            )
        ahead = (at - cast(dt.datetime, connection.execute(_REAL).scalar_one())).total_seconds()
        if connection not in _held:
            event.listen(connection, "after_cursor_execute", _say_again)
        _held[connection] = f"@{at.isoformat()}" if frozen else f"+{ahead:.6f}"
        connection.execute(_SET, {"clock": _held[connection]})
        return self.now()


def _say_again(connection: Connection, _cursor: object, statement: str, *_: Any) -> None:
    """A savepoint that is rolled back takes along what was set in it: time would go back."""
    if statement.startswith("ROLLBACK TO") and connection in _held:
        connection.execute(_SET, {"clock": _held[connection]})


def make_settable(engine: Engine) -> None:
    """Replace the clock of a database that is made for tests by one that a test can set. Never in production.

    Args:
        engine: Logged in as a superuser or as whoever migrates.
    """
    with engine.begin() as connection:
        connection.exec_driver_sql("set local role jobforge_owner")
        connection.exec_driver_sql(_FUNCTIONS.read_text(encoding="utf-8").replace("%", "%%"))
