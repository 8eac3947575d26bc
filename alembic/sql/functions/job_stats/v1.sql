-- How runs and jobs ended since a time, for each type and queue; the row without a type is all of them. Of the newest
-- p_limit jobs that have been run or have ended: time costs nothing to filter and no index knows it, so what bounds the
-- work is the order of the ids. Where there are more, back_to tells since when those were enqueued that were looked at.
-- Rights as in list_jobs: a tenant's own, which are found by its outcomes and by what it has scheduled and running, for
-- no index of attempts begins with the tenant; a run of a job that waits in a queue again counts when that has ended.
create or replace function jobforge.job_stats(
    p_since timestamptz default null,
    p_type  text        default null,
    p_queue text        default null,
    p_limit integer     default 50000
) returns table (
    type text, queue text, succeeded bigint, failed bigint, lost bigint, dead bigint, canceled bigint,
    run_p50 double precision, run_p95 double precision, run_max double precision,
    wait_p50 double precision, wait_p95 double precision, looked_at bigint, back_to timestamptz
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off  -- everything is met by key, and the newest first by an index: 10,000,000 jobs cost as 50,000 do
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_hashagg = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_all    boolean := v_tenant is null and row_security_active('jobforge.jobs');  -- of all whom the policies show
    v_since  timestamptz := coalesce(p_since, jobforge.now() - interval '1 hour');
begin
    if p_limit is null or p_limit not between 1 and 10000000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000000'
            using errcode = 'JF003', hint = 'Leave it out to look at the newest 50,000 jobs.';
    end if;
    return query
        with seen as materialized (
            select distinct p.job_id from (
                (select distinct a.job_id from jobforge.attempts a where v_all order by a.job_id desc limit p_limit)
                union all
                (select o.job_id from jobforge.outcomes o where v_all order by o.job_id desc limit p_limit)
                union all
                select o.job_id from unnest(array['succeeded', 'dead', 'canceled']) s (state) cross join lateral (
                    select o.job_id from jobforge.outcomes o
                     where o.tenant_id = v_tenant and o.state = s.state order by o.job_id desc limit p_limit) o
                union all
                select s.job_id from (select s.job_id, s.run from jobforge.scheduled s
                                       where s.tenant_id = v_tenant order by s.job_id desc limit p_limit) s where s.run > 0
                union all
                select l.job_id from jobforge.leases l where l.tenant_id = v_tenant and l.run > 1) p
             order by p.job_id desc limit p_limit
        ), ended as (
            select s.job_id, j.type, j.queue, j.run_at
              from seen s join jobforge.jobs j on j.id = s.job_id
             where (p_type is null or j.type = p_type) and (p_queue is null or j.queue = p_queue)
        ), told as (
            select e.type, e.queue, a.outcome as how,
                   case when a.outcome in ('succeeded', 'failed', 'timed_out')
                        then coalesce(a.run_ms / 1000.0, extract(epoch from a.finished_at - a.claimed_at)) end as ran,
                   -- of the first run: when a later one was due is not kept
                   case when a.run = 1 then greatest(extract(epoch from a.claimed_at - e.run_at), 0) end as waited
              from ended e join jobforge.attempts a on a.job_id = e.job_id
             where a.finished_at >= v_since and a.outcome <> 'canceled'
            union all
            select e.type, e.queue, o.state, null, null
              from ended e join jobforge.outcomes o on o.job_id = e.job_id
             where o.finished_at >= v_since and o.state <> 'succeeded'
        )
        select t.type, t.queue, count(*) filter (where t.how = 'succeeded'),
               count(*) filter (where t.how in ('failed', 'timed_out')), count(*) filter (where t.how = 'lost'),
               count(*) filter (where t.how = 'dead'), count(*) filter (where t.how = 'canceled'),
               percentile_cont(0.5) within group (order by t.ran), percentile_cont(0.95) within group (order by t.ran),
               max(t.ran)::double precision, percentile_cont(0.5) within group (order by t.waited),
               percentile_cont(0.95) within group (order by t.waited), (select count(*) from seen),
               (select j.created_at from jobforge.jobs j where (select count(*) from seen) >= p_limit
                   and j.id = (select s.job_id from seen s order by s.job_id limit 1))
          from told t group by grouping sets ((t.type, t.queue), ()) order by t.type nulls first, t.queue;
end
$$;

grant execute on function jobforge.job_stats to jobforge_app, jobforge_admin;
comment on function jobforge.job_stats is 'How runs and jobs ended since a time, by type and queue.';
