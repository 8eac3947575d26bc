"""Act as a tenant, and assert that models, queries and functions of an application keep tenants apart.

Made for pytest (`jobforge_sa.testing.plugin` gives it as the fixture `isolation`), and needs none of it. Works for
tables whose policies use `jobforge.current_tenant()`; where tenancy is plain also for those that use
`current_setting('jobforge.tenant_id', true)`. Where it is signed those are found: each tenant then also tries to be
the other one by all that SQL can set without a key.

Every assertion first looks whether it could fail at all: as a superuser, without rows of both tenants, or with an
id that nobody has, any of them would pass, and mean nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, object_session

from jobforge_sa.db.failures import sqlstate
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.tenant import SignedTenant, Tenant, name_of
from jobforge_sa.testing.isolation import policy, reading
from jobforge_sa.testing.isolation.calling import Call, Deed
from jobforge_sa.testing.isolation.reading import Statement, Target, who, who_injects
from jobforge_sa.testing.isolation.relation import oid_of
from jobforge_sa.testing.isolation.rights import judge_rights
from jobforge_sa.testing.isolation.sessions import Sessions
from jobforge_sa.testing.isolation.verdict import NotIsolated, ProvesNothing, said
from jobforge_sa.testing.isolation.writing import Attack

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

__all__ = ["Isolation", "NotIsolated", "ProvesNothing"]

_RIGHTS_OF_ANOTHER = "{} the rights of its owner, and an argument can name any tenant"
_ASK = "compare with jobforge.current_tenant() in the function, or make it SECURITY INVOKER"

Make = Callable[[Any], object]  # a tenant → a new mapped object of its own, or several


class Isolation:
    """Two tenants of an application, and what they must not do to each other.

    Args:
        engine: Logged in as the application is in production: no superuser, no owner of the tables.
        tenants: The two, as the application names them; UUIDs where its tenants are such, `TenantKey.tenant(...)`
            where they are signed.
    """

    def __init__(self, engine: Engine | AsyncEngine, tenants: tuple[Tenant, Tenant] = ("tenant-a", "tenant-b")) -> None:
        if name_of(tenants[0]) == name_of(tenants[1]):
            raise ConfigurationError(f"two different tenants are needed, not {tenants!r}", cure="give two")
        self.tenants = tenants
        self._sessions = Sessions(engine)

    def as_tenant(self, tenant: Tenant, *, commit: bool = False) -> AbstractContextManager[Session]:
        """A session of the tenant, for a block. What it does is undone at the end, its own commits included.

        Args:
            tenant: The tenant.
            commit: Keep it. The objects can still be read behind the block.
        """
        return self._sessions.of(tenant, commit=commit)

    def as_nobody(self) -> AbstractContextManager[Session]:
        """A session without a tenant, for a block; undone at the end."""
        return self._sessions.of(None)

    def assert_isolated(
        self, target: type[Any] | Statement, *, make: Make | None = None, meant_policies: Iterable[str] = ()
    ) -> None:
        """Assert that neither tenant is shown the other's rows, and that without a tenant there are none.

        Of a mapped class also that neither can insert a row for the other, change or delete one, or give its own away;
        and that the login has no way past the policies: another policy that no row of the test meets, a partition that
        can be read by its own name, TRUNCATE or TRIGGER, where tenancy is signed the table itself.

        Args:
            target: A mapped class, or a select, union or text().
            make: Gives a new object, or a list, of the tenant that it is called with. They are committed, and deleted
                in the end. Without it both tenants must have committed rows. A select that counts or sums needs it.
            meant_policies: The names of those that let through rows by another rule than their tenant, and are right.

        Raises:
            NotIsolated: it is not; the error says what was shown to whom, and the policy to write.
            ProvesNothing: this could not have failed.
        """
        __tracebackhide__ = True
        found = Target(target)
        try:
            with self._sessions.of(self.tenants[0]) as session:
                policy.require_bound(session, found.tables)
            signed = self._signed(*self.tenants)
            with self._explained(found, signed=signed), ExitStack() as made:
                self._assert_reads(found, make, made, signed=signed)
                self._assert_writes(found, signed=signed)
            self._assert_rights(found, set(meant_policies), signed=signed)
        except NotIsolated as verdict:
            raise verdict.with_traceback(None) from None
        except ProvesNothing as verdict:  # as if raised here: the way to it is ours, and says nothing to the user
            raise verdict.with_traceback(None) from verdict.__cause__

    def assert_refuses(
        self,
        function: str | Callable[..., Any],
        /,
        *args: Any,
        tenant: Tenant | None = None,
        owner: Tenant | None = None,
        raises: type[BaseException] | Sequence[type[BaseException]] = (),
        may_change: Iterable[str] = (),
        **named: Any,
    ) -> None:
        """Assert that a function, called by one tenant with what is another's, raises or does nothing.

        It is called by the owner first, for whom it must give or change something; both calls are undone. To refuse is
        to raise (42501, JF..., a plain `raise exception`, NoResultFound, PermissionError, the library's own errors), or
        to give nothing (no rows, NULL, false, 0) and change no row of any table.

        Args:
            function: The name of one in the database, or a callable that takes a session first.
            args: What it is called with: ids and the like of `owner`. So are `named`.
            tenant: Who calls. Default: the first tenant.
            owner: Whose things the arguments name. Default: the second tenant.
            raises: Errors of the application's that are refusals too.
            may_change: Tables that may be written all the same, such as a log of refused calls.

        Raises:
            NotIsolated: it gave or changed something. ProvesNothing: it does nothing for the owner either.
        """
        __tracebackhide__ = True
        call = Call(function, args, named)
        refusals = (raises,) if isinstance(raises, type) else tuple(raises)
        caller, of = tenant if tenant is not None else self.tenants[0], owner if owner is not None else self.tenants[1]
        if name_of(caller) == name_of(of):
            raise ConfigurationError(f"{who(of)} is no foreign tenant to itself", cure="pass another owner= or tenant=")
        try:
            with self._sessions.of(of) as session:
                policy.require_bound(session, ())
                _require_works(call.run(session, refusals, ()), call.name, of)
            for name, acting in self._callers(caller, of):
                with acting as session:
                    deed = call.run(session, refusals, may_change)
                self._require_refused(deed, call, name, of)
        except (NotIsolated, ProvesNothing) as verdict:
            raise verdict.with_traceback(None) from verdict.__cause__

    @contextmanager
    def stored(self, tenant: Tenant, make: Make) -> Iterator[Any]:
        """What `make` gives for the tenant's name, committed for a block and deleted behind it.

        Args:
            tenant: The tenant, signed where tenancy is.
            make: As in `assert_isolated`. What it gives is what the block gets.

        Raises:
            ProvesNothing: the tenant may not store its own.
        """
        objects = make(tenant.id if isinstance(tenant, SignedTenant) else tenant)
        with self._storing(tenant), self._sessions.of(tenant, commit=True) as session:
            session.add_all(objects if isinstance(objects, list | tuple) else [objects])
            session.flush()
            stored = [*session]
        try:
            yield objects
        except BaseException:
            self._delete(tenant, stored)
            raise
        if (error := self._delete(tenant, stored)) is not None:
            warnings.warn(f"what make({name_of(tenant)!r}) stored stays in the database: {error}", stacklevel=2)

    # -- how ---------------------------------------------------------------------------

    def _signed(self, *tenants: Tenant) -> bool:
        """Whether tenancy is signed; then these have to be."""
        if signed := self._sessions.signed():
            policy.require_signed(tenants)
        return signed

    def _assert_reads(self, target: Target, make: Make | None, made: ExitStack, *, signed: bool) -> None:
        seen = reading.look(self._sessions, target, self.tenants, signed=signed)
        if make is not None:
            for tenant in self.tenants:
                made.enter_context(self.stored(tenant, make))
                before, seen = seen, reading.look(self._sessions, target, self.tenants, signed=signed)
                reading.judge_growth(target, before, seen, tenant)
        if make is None or target.keys:  # what a select shows to everybody may be meant for everybody
            reading.judge_rows(target, seen, self.tenants)

    def _assert_rights(self, target: Target, meant: set[str], *, signed: bool) -> None:
        with self._sessions.of(self.tenants[0]) as session:
            for table in target.written:
                if (oid := oid_of(session, table)) is not None:
                    judge_rights(session, target.name, oid, signed=signed, meant=meant)

    def _assert_writes(self, target: Target, *, signed: bool) -> None:
        one, other = self.tenants
        for table in target.written:
            for pair in ((one, other), (other, one)):
                Attack(self._sessions, target.name, table, pair, signed=signed).run()

    @contextmanager
    def _storing(self, tenant: Tenant) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if sqlstate(error) != "42501":
                raise
            self._signed(tenant)  # else that is why
            raise ProvesNothing(f"{who(tenant)} may not store its own: {error.orig}") from error

    def _delete(self, tenant: Tenant, stored: list[Any]) -> DBAPIError | None:
        try:
            with self._sessions.of(tenant, commit=True) as session:
                for one in stored:
                    if object_session(one) is None:
                        session.add(one)
                for one in stored:
                    session.delete(one)
        except DBAPIError as error:
            return error
        return None

    @contextmanager
    def _explained(self, target: Target, *, signed: bool) -> Iterator[None]:
        """Add to a verdict why it may be so, and the cure."""
        try:
            yield
        except NotIsolated as verdict:
            with self._sessions.of(self.tenants[0]) as session:
                oids = {table: oid for table in target.tables if (oid := oid_of(session, table)) is not None}
                sure = [oids[table] for table in target.written if table in oids]
                touched = {*oids.values(), *reading.touched(session, target)}
                why, cure = policy.diagnose(session, touched, sure=sure, signed=signed)
            if not why:
                why, cure = _RIGHTS_OF_ANOTHER.format("it calls a function that has"), _ASK
            raise NotIsolated(said(str(verdict), why=why, cure=cure)) from None

    def _callers(self, caller: Tenant, owner: Tenant) -> Iterator[tuple[str, AbstractContextManager[Session]]]:
        """Who calls: the tenant, and where tenancy is signed the tenant that lies about itself."""
        yield who(caller), self._sessions.of(caller)
        if self._signed(caller, owner):
            yield who_injects(caller), self._sessions.injected(caller, owner)

    def _require_refused(self, deed: Deed, call: Call, caller: str, owner: Tenant) -> None:
        if deed.refusal is not None or deed.is_nothing:
            return
        did = [f"gave {str(deed.given[0])[:200]}"] if deed.given else []
        did += [f"made {number} {change}" for change, number in sorted(deed.changed.items())]
        did += [f"was shown a row that its UPDATE then did not hit ({deed.missed})"] if deed.missed is not None else []
        what = f"{call.name} does not refuse a foreign tenant: called by {caller} for what is {who(owner)}'s, it "
        with self._sessions.of(self.tenants[0]) as session:
            why, cure = policy.diagnose(session, deed.touched, written=deed.written, signed=self._sessions.signed())
            if call.is_definer(session):
                why, cure = _RIGHTS_OF_ANOTHER.format("it is SECURITY DEFINER:"), _ASK
        if not why:
            why, cure = (
                _RIGHTS_OF_ANOTHER.format("no table that it touched is open, so it calls a function that has"),
                _ASK,
            )
        raise NotIsolated(said(what + " and ".join(did), why=why, cure=cure))


def _require_works(deed: Deed, name: str, owner: Tenant) -> None:
    error = deed.refusal or deed.missed
    if error is not None or deed.is_nothing:
        how = f"raises {error!r}" if error is not None else "gives and changes nothing"
        raise ProvesNothing(
            said(
                f"this would prove nothing: {name} {how} for {who(owner)} either, whose things the arguments name",
                cure="commit them first (with isolation.stored(owner, make=...) as it), and pass their keys",
            )
        )
