"""Jobs of all kinds, by the functions that clients call: what writes every table that a job's life can write."""

from __future__ import annotations

import uuid

from psycopg.types.json import Json, Jsonb

from jobforge_sa.testing.database import Database
from tests.flat.field import TASKS, connect, tenant
from tests.support import Row

KINDS = ("succeeded", "dead", "canceled", "result", "idempotency_key")  # all that is kept for a while
WORKER = uuid.UUID(int=1)

# Of a hundred 60 plain ones, 10 with an idempotency key, 4 that are due a little later, and 2 each with a key that only
# one active job may have and with one that jobs wait in line for.
ENQUEUE = """
select count(*) from jobforge.enqueue_jobs((
    select json_agg(json_strip_nulls(json_build_object(
               'type', 't', 'payload', json_build_object('n', n, 'text', repeat('x', 50)),
               'idempotency_key', case when n %% 10 = 1 then gen_random_uuid()::text end,
               'delay', case when n %% 25 = 2 then '50 milliseconds' end,
               'unique_key', case when n %% 50 = 3 then 'u' || n end,
               'ordering_key', case when n %% 50 = 4 then 'o' || n end)))
      from generate_series(1, %s) n))
"""
CLAIM = """
select c.job_id::text, c.lease_token::text, c.tenant_id
  from jobforge.claim_jobs(%s, '{default}', %s, %s, null, array[%s]) c
"""


class Traffic:
    """An application and its worker, one after the other in rounds."""

    def __init__(self, database: Database, batch: int, tenants: int = 10, odd: int = 1, walks: int = 40) -> None:
        self.app = connect(database, "jf_app")
        self.worker = connect(database, "jf_worker")
        self.admin = connect(database, "jf_admin")
        self.batch, self.tenants = batch, tenants
        self.odd = odd
        self.walks = walks  # each so many rounds prune begins anew; it does so by itself after a minute
        self.rounds = 0
        self.cursor: str | None = None
        self.admin.execute("select jobforge.limit_queue('default', %s)", [Jsonb({"rate": 1_000_000})])

    def keep(self, seconds: int) -> None:
        """How long what has ended stays."""
        for kind in KINDS:
            self.admin.execute("select jobforge.set_retention(%s, %s * interval '1 second')", [kind, seconds])

    def round(self) -> None:
        """Enqueue, claim and complete about as many, and do what upkeep does."""
        self.rounds += 1
        with self.app.transaction():
            self._as(tenant("a", self.rounds, self.tenants))
            self.app.execute(ENQUEUE, [self.batch])
        runs = self.worker.execute(CLAIM, [WORKER, TASKS, 2 * self.batch, self.cursor]).fetchall()
        self.cursor = runs[-1]["tenant_id"] if runs else None
        if len(runs) >= 4:
            for n in range(self.odd):
                self._odd(runs[4 * n :] + runs)
            self.worker.execute("select count(*) from jobforge.complete_jobs(%s)", [Json(_ends(runs))])
        self.worker.execute("select count(*) from jobforge.heartbeat_jobs(%s)", [WORKER])
        self.worker.execute("select count(*) from jobforge.upkeep(%s, 1000, false)", [WORKER])
        self.worker.execute(
            "select count(*) from jobforge.prune(%s, %s)", [2 * self.batch, self.rounds % self.walks == 0]
        )

    def _odd(self, runs: list[Row]) -> None:
        """What few jobs do: somebody waits for one, cancels one that runs; one makes a file, one calls a webhook."""
        one, two, three, four = runs[:4]
        for call, run in (("await_job(%s)", one), ("cancel_job(%s)", two)):
            with self.app.transaction():
                self._as(run["tenant_id"])
                self.app.execute(f"select count(*) from jobforge.{call}".encode(), [run["job_id"]])
        self.worker.execute(
            "select count(*) from jobforge.store_artifact(%s, %s, 'a', 'text/plain', %s)",
            [three["job_id"], three["lease_token"], b"x" * 1000],
        )
        self.worker.execute(
            "select count(*) from jobforge.log_delivery(%s, %s, %s, 'e', 'e', 'failed', 500, 'no', 1, 'x', 1000000)",
            [four["job_id"], four["lease_token"], f"https://example.com/{self.rounds % 3}"],
        )

    def _as(self, name: str) -> None:
        self.app.execute("select set_config('jobforge.tenant_id', %s, true)", [name])

    def close(self) -> None:
        for connection in (self.app, self.worker, self.admin):
            connection.close()


def _ends(runs: list[Row]) -> list[Row]:
    """Most succeed, some with a result; some fail and come again, at once or later; some are given back."""
    few: dict[int, Row] = {
        5: {"outcome": "failed", "error": {"type": "X"}, "delay": 0},
        6: {"outcome": "failed", "error": {"type": "X"}, "delay": 0.05},
        7: {"outcome": "failed", "error": {"type": "X"}, "final": True},
        8: {"outcome": "snoozed", "delay": 0.05},
        9: {"outcome": "released"},
    }
    plain: list[Row] = [{"outcome": "succeeded"}, {"outcome": "succeeded", "result": {"n": 1}}]
    return [
        {"job_id": run["job_id"], "lease_token": run["lease_token"], **few.get(n % 50, plain[n % 10 == 0])}
        for n, run in enumerate(runs)
    ]
