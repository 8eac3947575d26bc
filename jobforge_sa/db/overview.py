"""What `jobforge top` asks beside the contract's functions, as jobforge_admin: looks whose price does not grow with the
jobs that wait or have ended.

Counters are those that Postgres keeps of each table: no history is counted for a rate. Who has most waiting is found in
a sample of 200 pages of `ready` at most, for nobody keeps count; up to some 10,000 waiting jobs that is all of them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import text

PAGES: Final = 200  # of 8 kB
NEWEST: Final = 2_000  # ends among which deaths are looked for

COUNTERS: Final = text("""
select jobforge.now() as now, current_setting('server_version') as version,
       pg_stat_get_tuples_inserted(cast('jobforge.jobs' as regclass)) as enqueued,
       pg_stat_get_tuples_inserted(cast('jobforge.leases' as regclass)) as started,
       pg_stat_get_tuples_inserted(cast('jobforge.attempts' as regclass)) as ended""")

_PERCENT: Final = f"least(100, 100.0 * {PAGES} * 8192 / greatest(1, pg_relation_size('jobforge.ready')))"
TENANTS: Final = text(f"""
select coalesce(r.tenant_id, l.tenant_id) as tenant_id, coalesce(r.queued, 0) as queued,
       coalesce(l.running, 0) as running, t.paused_at, s.percent < 100 as sampled
  from (select {_PERCENT} as percent) s
 cross join ((select r.tenant_id, cast(ceil(count(*) * 100 / {_PERCENT}) as bigint) as queued
                from jobforge.ready r tablesample system ({_PERCENT})
               group by r.tenant_id order by 2 desc limit :count) r
  full join (select l.tenant_id, count(*) as running from jobforge.leases l group by l.tenant_id) l
    on l.tenant_id = r.tenant_id)
  left join jobforge.limits t on t.scope = 'tenant' and t.name = coalesce(r.tenant_id, l.tenant_id)
 order by 2 desc, 3 desc, 1 limit :count""")

PAUSED_TASKS: Final = text("""
select l.name from jobforge.limits l where l.scope = 'task' and l.paused_at is not null order by l.name""")

RUNNING: Final = text("""
select l.job_id, l.tenant_id, j.type, j.queue, l.claimed_at, coalesce(w.name, cast(l.worker_id as text)) as worker
  from (select l.job_id, l.tenant_id, l.worker_id, l.claimed_at from jobforge.leases l
         order by l.claimed_at, l.job_id limit :count) l
  join jobforge.jobs j on j.id = l.job_id
  left join jobforge.workers w on w.worker_id = l.worker_id
 order by l.claimed_at, l.job_id""")

DEATHS: Final = text(f"""
select o.job_id, o.tenant_id, j.type, o.finished_at, a.error ->> 'type' as error,
       left(a.error ->> 'message', 200) as said
  from (select n.* from (select o.job_id, o.tenant_id, o.state, o.run, o.finished_at from jobforge.outcomes o
                          order by o.job_id desc limit {NEWEST}) n
         where n.state = 'dead' order by n.finished_at desc limit :count) o
  join jobforge.jobs j on j.id = o.job_id
  left join jobforge.all_attempts a on a.job_id = o.job_id and a.run = o.run
 order by o.finished_at desc""")
