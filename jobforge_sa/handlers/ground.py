"""What a run of a built-in handler stands on: its tenant's configuration and secrets, by the run's own token.

They are read in a transaction that ends before any network is touched: none is open while somebody far away thinks.
What the handler writes to its session behind that is committed together with the completion, under its fence.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from jobforge_sa.artifacts import Sink
from jobforge_sa.connectors import OWN
from jobforge_sa.context import ClaimedJob, Context
from jobforge_sa.db import connector_calls
from jobforge_sa.db.jsontext import decode
from jobforge_sa.egress.policy import Egress
from jobforge_sa.enqueue.answers import translated
from jobforge_sa.errors import Blocked, ConfigurationError, LeaseLost, SecretUnavailable
from jobforge_sa.secrets import Secret, SecretKeys, SecretResolver

if TYPE_CHECKING:
    from jobforge_sa.egress.client import Client

REST = dt.timedelta(seconds=2)  # before a run's end, or a quarter of a short one: to say how it went
NO_TIME = "the run has no time left for a request: give the job a longer timeout"
SLACK = dt.timedelta(seconds=60)  # beside the request: the database, what resolves a reference


@dataclass(frozen=True, slots=True)
class Ground:
    """What one run may use.

    Attributes:
        config: What an administrator has said of this connector for the job's tenant: that of the connector's own type
            over that of all connectors, key by key. Empty where nothing was said.
        secrets: Those that were asked for and are there, by name.
        now: The database's time.
        unsure: An earlier run of the job was lost or stopped while it worked: nobody knows what it has done.
    """

    config: Mapping[str, Any]
    secrets: Mapping[str, Secret]
    now: dt.datetime
    unsure: bool = False

    def left(self, job: ClaimedJob) -> dt.timedelta:
        """How long a request may take, for its run to say how it ended before its end; 0 or less: no time.

        Its timeout counts from the handler's start, a moment ago; the lease's deadline is a minute behind it, and comes
        sooner only where the run has waited for a thread.
        """
        left = job.deadline - self.now - REST
        return left if job.timeout is None else min(left, job.timeout - min(REST, job.timeout / 4))

    def secret(self, name: str) -> Secret:
        """One of the secrets.

        Raises:
            SecretUnavailable: the tenant has none of that name.
        """
        if name not in self.secrets:
            raise SecretUnavailable(
                f"the tenant has no secret {name}", cure="an administrator runs: jobforge secrets set TENANT NAME"
            )
        return self.secrets[name]


@dataclass(frozen=True)
class Means:
    """What the operator's program gives the handlers.

    Attributes:
        egress: Where requests may go at all; a tenant's configuration narrows it. Or a client, with a resolver or an
            authority of the operator's own. None: every public host, by https.
        keys: They open sealed secrets. None: JOBFORGE_SECRET_KEYS, read when the first one is met.
        resolver: Resolves references. None: there are none.
        artifacts: Where reports go. None: the database, up to a size.
    """

    egress: Egress | Client | None = None
    keys: SecretKeys | None = None
    resolver: SecretResolver | None = None
    artifacts: Sink | None = None

    @property
    def policy(self) -> Egress:
        """What is allowed before a tenant's configuration narrows it."""
        if self.egress is None:
            return Egress()
        return self.egress if isinstance(self.egress, Egress) else self.egress.policy

    @property
    def patience(self) -> dt.timedelta:
        """The timeout of a run that makes one request."""
        return dt.timedelta(seconds=self.policy.timeout) + SLACK

    @cached_property
    def _sender(self) -> Client:
        from jobforge_sa.egress.client import Client  # here: it loads httpcore, and a web process only enqueues

        return self.egress if isinstance(self.egress, Client) else Client(self.policy)

    def client(self, ground: Ground, tenant: str = "") -> Client:
        """What makes requests for the job's tenant; lookups of one tenant's that hang leave room for the others'.

        Raises:
            Blocked: the connector is switched off for it, or its configuration cannot work.
        """
        if ground.config.get("enabled") is False:
            raise Blocked("this connector is switched off for the tenant", cure="jobforge connectors set enables it")
        said = {name: value for name, value in ground.config.items() if name not in OWN}
        try:
            return self._sender.under(self.policy.narrowed(said), tenant)
        except ConfigurationError as error:  # it came past `Connectors.set`; nothing goes out on half a policy
            raise Blocked(f"the tenant's configuration cannot work: {error.message}", cure=error.cure) from None

    def ground(self, ctx: Context, secrets: Sequence[str] = ()) -> Ground:
        """Read what this run may use, and end the transaction.

        Raises:
            LeaseLost: the run is over: another worker may have the job.
            SecretUnavailable: a secret cannot be opened, or its reference not be resolved, at the moment.
        """
        job, connection = ctx.job, ctx.session.connection()
        call = connector_calls.CONNECTOR_OF_RUN
        values = call.values(
            None, job_id=job.id, lease_token=job.lease_token, type=job.type, secrets=sorted({*secrets})
        )
        with translated(connection):
            row = connection.execute(call.statement(None), values).one_or_none()
        ctx.session.rollback()  # nothing was written; and the connection goes back to the pool
        if row is None:
            raise LeaseLost(f"job {job.id}: the lease of run {job.run} is gone")
        found = {name: self._opened(job.tenant_id, name, kept) for name, kept in decode(row.secrets).items()}
        return Ground(decode(row.config), found, row.at, row.unsure)

    def _opened(self, tenant: str, name: str, kept: Mapping[str, Any]) -> Secret:
        values = [self._open(tenant, name, kept)]
        if kept["previous"] is not None:
            with contextlib.suppress(SecretUnavailable):  # the current one counts; this one's key may be gone with it
                values.append(self._open(tenant, name, kept["previous"]))
        return Secret(name, tuple(values), tuple(kept["hosts"]))

    def _open(self, tenant: str, name: str, kept: Mapping[str, Any]) -> str:
        if kept["kind"] == "sealed":
            try:
                keys = self.keys or SecretKeys.from_environment()
            except ConfigurationError as error:
                raise SecretUnavailable(f"the secret {name} is sealed: {error.message}", cure=error.cure) from None
            return keys.open(kept["value"], tenant=tenant, name=name)
        if self.resolver is None:
            raise SecretUnavailable(
                f"the secret {name} is a reference, and this worker has nothing to resolve it",
                cure="pass a resolver: Connectors(resolver=...)",
            )
        try:
            return str(self.resolver.resolve(tenant, kept["value"]))
        except Exception as error:  # its text may hold a secret, or how to get at one
            raise SecretUnavailable(
                f"the reference of the secret {name} could not be resolved: {type(error).__name__}",
                cure="look at the log of the resolver",
            ) from None
