-- The queues that have something waiting or running, or a live worker, or of which something was said. For administrators, and for whoever measures: at
-- most p_count jobs of a queue are counted, so that a look at ten million costs as much as one at a hundred thousand; the
-- oldest is that of the first 1,000 tenants of a queue.
create or replace function jobforge.list_queues(p_count integer default 100000) returns table (
    queue text, queued bigint, oldest timestamptz, suspects bigint, scheduled bigint, next_due timestamptz, running bigint,
    workers bigint, paused_at timestamptz, max_running integer
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set jit = off
as $$
declare
    v_now timestamptz := jobforge.now();
begin
    if p_count is null or p_count not between 1 and 100000000 then
        raise exception 'jobforge: p_count must be between 1 and 100000000'
            using errcode = 'JF003', hint = 'Leave it out to count up to 100,000 jobs of each queue.';
    end if;
    return query
        with recursive waiting (queue) as (
            (select r.queue from jobforge.ready r order by r.queue limit 1)
            union all
            select (select r.queue from jobforge.ready r where r.queue > w.queue order by r.queue limit 1)
              from waiting w where w.queue is not null
        ), later as (
            select s.queue, count(*) as scheduled, min(s.run_at) as next_due
              from (select s.queue, s.run_at from jobforge.scheduled s order by s.run_at limit p_count) s group by s.queue
        ), held as (
            select l.queue, count(*) as running from jobforge.leases l group by l.queue
        ), served as (
            select q.queue, count(*) as workers
              from jobforge.workers w cross join unnest(w.queues) q (queue) where w.alive_until > v_now group by q.queue
        ), known as (
            select w.queue from waiting w where w.queue is not null
            union select l.queue from later l union select h.queue from held h union select s.queue from served s
            union select m.name from jobforge.limits m where m.scope = 'queue'
        )
        select k.queue,
               (select count(*) from (select from jobforge.ready r
                                       where r.queue = k.queue and r.lane <> '!suspect' limit p_count) c),
               (with recursive head (lane, tenant_id, job_id, n) as (
                    (select r.lane, r.tenant_id, r.job_id, 1 from jobforge.ready r where r.queue = k.queue
                      order by r.lane, r.tenant_id, r.priority, r.job_id limit 1)
                    union all
                    select next.lane, next.tenant_id, next.job_id, h.n + 1 from head h cross join lateral (
                        select r.lane, r.tenant_id, r.job_id from jobforge.ready r
                         where r.queue = k.queue and (r.lane, r.tenant_id) > (h.lane, h.tenant_id)
                         order by r.lane, r.tenant_id, r.priority, r.job_id limit 1) next
                     where h.n < 1000)
                select min(j.run_at) from head h join jobforge.jobs j on j.id = h.job_id),
               (select count(*) from (select from jobforge.ready r where r.queue = k.queue and r.lane = '!suspect' limit p_count) c),
               coalesce(l.scheduled, 0), l.next_due, coalesce(h.running, 0), coalesce(s.workers, 0),
               m.paused_at, m.max_running
          from known k
          left join later l on l.queue = k.queue
          left join held h on h.queue = k.queue
          left join served s on s.queue = k.queue
          left join jobforge.limits m on m.scope = 'queue' and m.name = k.queue
         order by k.queue;
end
$$;

grant execute on function jobforge.list_queues to jobforge_admin;
comment on function jobforge.list_queues is 'The queues: what waits, what runs, who works on them.';
