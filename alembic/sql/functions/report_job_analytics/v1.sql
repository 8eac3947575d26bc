-- How a tenant's jobs went: of those that were enqueued in [p_from, p_until), by type, how they ended so far, how long
-- their handlers ran and how long they waited, and of which type their commonest errors were. The first row, without a
-- type, is all of them; then the 100 types with most jobs, of `kinds`. An error's message is left out: data stands
-- in it. See report_jobs for the rights, and for what it costs.
create or replace function jobforge.report_job_analytics(
    p_from timestamptz, p_until timestamptz, p_limit integer default 500000
) returns table (
    type text, enqueued bigint, succeeded bigint, dead bigint, canceled bigint, unfinished bigint, attempts bigint,
    retries bigint, lost bigint, success_rate double precision,
    run_p50 double precision, run_p95 double precision, run_p99 double precision,
    wait_p50 double precision, wait_p95 double precision, wait_p99 double precision,
    errors json, kinds bigint, back_to timestamptz
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_limit  integer := coalesce(p_limit, 500000);
begin
    return query
        with seen as materialized (
            select * from jobforge.report_jobs(p_from, p_until, v_limit)
        ), jobs as materialized (  -- a type may be any text: only so many are told apart, whoever makes a million
            select s.type, count(*) as enqueued, count(*) filter (where s.state = 'succeeded') as succeeded,
                   count(*) filter (where s.state = 'dead') as dead,
                   count(*) filter (where s.state = 'canceled') as canceled,
                   count(*) filter (where s.state is null) as unfinished, count(distinct s.type) as kinds,
                   min(s.created_at) as first
              from seen s group by grouping sets ((s.type), ())
             order by s.type is not null, count(*) desc, s.type limit 101
        ), told as materialized (
            select case when s.type = any (array(select j.type from jobs j)) then s.type end as type,
                   a.outcome in ('succeeded', 'failed', 'timed_out') as charged, a.attempt, a.outcome,
                   left(a.error ->> 'type', 100) as error,
                   case when a.outcome in ('succeeded', 'failed', 'timed_out')
                        then coalesce(a.run_ms / 1000.0, extract(epoch from a.finished_at - a.claimed_at)) end as ran,
                   -- of the first run: when a later one was due is not kept
                   case when a.run = 1 then greatest(extract(epoch from a.claimed_at - s.run_at), 0) end as waited
              from seen s cross join lateral (  -- offset: jobs are the outer side, and not the attempts of all tenants
                   select * from jobforge.all_attempts t
                    where t.job_id = s.job_id and t.tenant_id = v_tenant offset 0) a
        ), runs as materialized (
            select t.type, grouping(t.type) as whole, count(*) filter (where t.charged) as attempts,
                   count(*) filter (where t.charged and t.attempt > 1) as retries,
                   count(*) filter (where t.outcome = 'lost') as lost,
                   percentile_cont(array[0.5, 0.95, 0.99]) within group (order by t.ran) as ran,
                   percentile_cont(array[0.5, 0.95, 0.99]) within group (order by t.waited) as waited
              from told t group by grouping sets ((t.type), ())
        ), worst as materialized (
            select * from (
                select t.type, grouping(t.type) as whole, t.error, count(*) as count, row_number() over (
                       partition by grouping(t.type), t.type order by count(*) desc, t.error collate "C") as place
                  from told t where t.error is not null group by grouping sets ((t.type, t.error), (t.error))) f
             where f.place <= 5
        )
        select j.type, j.enqueued, j.succeeded, j.dead, j.canceled, j.unfinished, coalesce(r.attempts, 0),
               coalesce(r.retries, 0), coalesce(r.lost, 0),
               j.succeeded::double precision / nullif(j.succeeded + j.dead, 0),
               r.ran[1], r.ran[2], r.ran[3], r.waited[1], r.waited[2], r.waited[3],
               (select coalesce(json_agg(json_build_object('type', w.error, 'count', w.count) order by w.place), '[]')
                  from worst w where w.whole = (j.type is null)::integer and w.type is not distinct from j.type),
               j.kinds, case when j.type is null and j.enqueued >= v_limit then j.first end
          from jobs j left join runs r on r.whole = (j.type is null)::integer and r.type is not distinct from j.type
         order by j.type is not null, j.enqueued desc, j.type;
end
$$;

grant execute on function jobforge.report_job_analytics to jobforge_app, jobforge_admin;
comment on function jobforge.report_job_analytics is 'How a tenant''s jobs of a period went, by type.';
