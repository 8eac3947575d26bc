"""Tenants, for administrators: paused, limited, counted, exported and purged, in the caller's own transaction."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jobforge_sa.db import calls, limit_calls
from jobforge_sa.enqueue.jobs import Jobs
from jobforge_sa.errors import ConfigurationError
from jobforge_sa.limits import Limit, Limited, Rate, Whole
from jobforge_sa.tenant import Tenant, name_of

BATCH = 1000  # jobs of a purge
PAGE = 200  # jobs of an export: one may have half a megabyte and more
PAGE_BYTES = 4 * 1024 * 1024  # what large ones are brought down to, after the first page of them


@dataclass(frozen=True, slots=True)
class TenantInfo:
    """A tenant that has jobs waiting or running, or of which something is said: see `Limit`."""

    tenant_id: str
    queued: int
    scheduled: int
    running: int
    paused_at: dt.datetime | None
    max_running: int | None
    rate: float | None
    burst: int | None
    weight: int | None
    max_waiting: int | None

    @property
    def waiting(self) -> int:
        """What counts towards the quota."""
        return self.queued + self.scheduled


@dataclass(frozen=True, slots=True)
class TenantCount:
    """How much is kept of a tenant."""

    tenant_id: str
    rows: Mapping[str, int]  # by the name of the table

    @property
    def jobs(self) -> int:
        """All jobs, waiting, running or ended."""
        return self.rows["jobs"]

    @property
    def empty(self) -> bool:
        """Nothing is kept of it: it is unknown, or was purged."""
        return not any(self.rows.values())


class Tenants(Limited[Tenant]):
    """The tenants of a database, through a session or connection of an administrator's. Never commits.

    Each call acts as jobforge_admin where the login may, and leaves the transaction's role as it was. With an
    `AsyncSession`: `await session.run_sync(lambda sync: Tenants(sync).pause("acme"))`.

    Every method may raise:
        AccessDenied: the login is no member of jobforge_admin.
        SchemaMismatch: the schema does not fit this code. ConfigurationError: an argument cannot work.
        What the driver raises for the database's own reasons (a deadlock, lock_timeout) stays as it is.

    Example:
        >>> with Session(engine) as session, session.begin():
        ...     Tenants(session).limit("acme", max_waiting=10_000, max_running=5)
    """

    _calls = limit_calls.TENANT_LIMITS

    def limit(
        self,
        name: Tenant,
        *,
        max_running: Whole = ...,
        rate: Rate = ...,
        burst: Whole = ...,
        weight: Whole = ...,
        max_waiting: Whole = ...,
    ) -> Limit:
        """Change its limits, for every claim that begins after the commit. What is left out stays, None takes away.

        Commit at once: until then claims pass over a tenant that had a limit before.

        Args:
            name: The tenant.
            max_running: So many of its jobs run at a time, 0 to 1,000,000.
            rate: So many of its runs begin in a second, more than 0; 0.1 is one in ten seconds. Any one second sees at
                most rate + burst: up to twice the rate, where no burst is said.
            burst: So many runs may begin at once after a while without. Default: what comes in a second, one at least.
            weight: So many times the share of a tenant without, 1 to 100.
            max_waiting: So many of its jobs may be scheduled or queued, 0 to 10,000,000. An enqueue over it raises
                `QuotaExceeded`, whose `message` is fit for the tenant's users. What waits stays.
        """
        return self._limit(
            name, max_running=max_running, rate=rate, burst=burst, weight=weight, max_waiting=max_waiting
        )

    def list(self) -> Sequence[TenantInfo]:
        """The tenants that have jobs waiting or running, or of which something is said; sorted by name."""
        return [TenantInfo(*row) for row in self._rows(limit_calls.LIST_TENANTS)]

    def count(self, tenant: Tenant) -> TenantCount:
        """How much is kept of it: what a purge would delete."""
        name = name_of(tenant)
        return TenantCount(name, dict(self._rows(calls.COUNT_TENANT, tenant_id=name)))

    def export(self, tenant: Tenant) -> Iterator[str]:
        """All that is kept of its jobs, oldest first: a line of JSON for each, read from the server page by page.

        A line is in ASCII and has the keys `job`, `attempts` and `cancel_requested_at`; where a job has more than 1,000
        attempts, further lines with the keys `job_id` and `attempts` follow. For one consistent export use a
        transaction at REPEATABLE READ.
        """
        name, cursor, size = name_of(tenant), None, PAGE
        while page := self._rows(calls.EXPORT_TENANT, tenant_id=name, cursor=cursor, limit=size):
            for _, record in page:
                yield _line(record)
            cursor = page[-1][0]
            weight = sum(len(record) for _, record in page) // len(page)
            size = max(1, min(PAGE, PAGE_BYTES // weight))

    def purge(self, tenant: Tenant, limit: int = BATCH) -> int:
        """Delete up to `limit` of its jobs, waiting, running or ended, with all that belongs to them.

        Pause it first, and call this, each time in a transaction of its own at READ COMMITTED, until the answer is 0:
        then its pause and its limits are gone too. Runs under way are lost: what their handlers write is rolled back.

        Returns:
            How many jobs it met. One that was on its way from one table to the next is met again.
        """
        if not 1 <= limit <= 100_000:
            raise ConfigurationError(f"a batch is 1 to 100,000 jobs, not {limit}", cure="leave the limit out")
        (row,) = self._rows(calls.PURGE_TENANT, tenant_id=name_of(tenant), limit=limit)
        return int(row[0])

    def act_for(self, tenant: Tenant) -> Jobs:
        """Act for the tenant in the rest of this transaction, under either tenancy: enqueue, cancel, read, as it would.

        Returns:
            Its jobs, through this session.
        """
        name = name_of(tenant)
        jobs = Jobs(self._session, tenant=name)  # refuses a session that is bound to another tenant
        with self._translated() as connection:
            connection.execute(calls.ACT_FOR, {"tenant_id": name})
        return jobs

    # -- how ---------------------------------------------------------------------------

    def _name(self, given: Tenant) -> str:
        return name_of(given)


# Payloads are kept as they came, line breaks between their tokens included; within strings JSON has none.
_BREAKS = str.maketrans("\r\n", "  ")
_UNPRINTED = re.compile(r"[^\x00-\x7e]")


def _line(record: str) -> str:
    """The record on one line, in ASCII: what is not stands inside of strings, where JSON has an escape for it."""
    return _UNPRINTED.sub(_escaped, record.translate(_BREAKS))


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
