"""Many tenants' jobs in all states, filled by SQL in seconds: as enqueueing and running them would leave the tables.

Each tenant has the same mix, in a hundred jobs 90 succeeded, 2 dead, 1 canceled, 5 queued, 1 scheduled, 1 running,
and the tenants take turns, so that one tenant's rows lie scattered over the whole table, as they do in life.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

FILL: Final = """
create temp table told as
select t.*, (lpad(to_hex((extract(epoch from t.at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(t.n % 4096), 3, '0')
             || '8' || lpad(to_hex(t.n), 15, '0'))::uuid as id
  from (select n, case when n % 100 < {share} then 'huge'
                       else 'tenant-' || lpad((n % {tenants})::text, 4, '0') end as tenant,
               (n / {tenants}) % 100 as place, now() - interval '10 ms' * ({jobs} - n) as at
          from generate_series(0, {jobs} - 1) n) t;
insert into jobforge.jobs (id, tenant_id, queue, type, priority, payload, run_at, max_attempts, created_at)
select id, tenant, 'default', 'nothing', 0, json_build_object('number', n, 'text', repeat('x', {size})), at, 5, at
  from told order by n;
insert into jobforge.attempts (job_id, run, tenant_id, attempt, outcome, worker_id, token, claimed_at, finished_at,
                               run_ms)
select id, 1, tenant, 1, case when place < 90 then 'succeeded' else 'failed' end, gen_random_uuid(), gen_random_uuid(),
       at, at, 5 from told where place < 92 order by n;
insert into jobforge.outcomes (job_id, tenant_id, state, run, attempt, crashes, finished_at)
select id, tenant, case when place < 90 then 'succeeded' when place < 92 then 'dead' else 'canceled' end,
       (place < 92)::integer, (place < 92)::integer, 0, at from told where place < 93 order by n;
insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes)
select 'default', tenant, 0, id, 'nothing', 0, 0, 0 from told where place between 93 and 97 order by n;
insert into jobforge.scheduled (tenant_id, job_id, run_at, queue, priority, type, run, attempt, crashes)
select tenant, id, now() + interval '1 hour', 'default', 0, 'nothing', 0, 0, 0 from told where place = 98 order by n;
insert into jobforge.leases (job_id, tenant_id, queue, type, limited, token, worker_id, run, attempt, crashes,
                             claimed_at, deadline)
select id, tenant, 'default', 'nothing', false, gen_random_uuid(), gen_random_uuid(), 1, 1, 0,
       now(), now() + interval '1 hour'
  from told where place = 99 order by n;
drop table told;
"""


def fill(execute: Callable[[str], object], jobs: int, tenants: int, *, share: int = 0, size: int = 100) -> None:
    """Fill the tables, as superuser.

    Args:
        execute: Runs several statements without parameters.
        jobs: How many in all.
        tenants: `tenant-0000` and so on.
        share: So many percent of the jobs belong to the tenant `huge` instead.
        size: About the bytes of a payload.
    """
    execute(FILL.format(jobs=jobs, tenants=tenants, share=share, size=size))
