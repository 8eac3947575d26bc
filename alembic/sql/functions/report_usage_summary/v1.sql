-- How much a tenant has used: of its jobs that were enqueued in [p_from, p_until), by day in UTC, how they ended so far,
-- their runs that were charged, and how long their handlers ran. The first row, without a day, is all of them. Each day of
-- the period has a row. See report_jobs for the rights, and for what it costs.
create or replace function jobforge.report_usage_summary(
    p_from timestamptz, p_until timestamptz, p_limit integer default 500000
) returns table (
    day date, enqueued bigint, succeeded bigint, dead bigint, canceled bigint, unfinished bigint, attempts bigint,
    run_seconds double precision, back_to timestamptz
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan
set enable_seqscan = off  -- everything is met by key: runs by their job
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set enable_hashagg = on
set jit = off
as $$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_limit  integer := coalesce(p_limit, 500000);
begin
    return query
        with seen as materialized (
            select s.job_id, (s.created_at at time zone 'UTC')::date as day, s.state, s.created_at
              from jobforge.report_jobs(p_from, p_until, v_limit) s
        ), ran as (
            select s.day, s.state, s.created_at, r.attempts, r.run_seconds
              from seen s cross join lateral (
                   select count(*) filter (where a.outcome in ('succeeded', 'failed', 'timed_out')) as attempts,
                          coalesce(sum(case when a.run_ms is not null then a.run_ms / 1000.0
                              when a.outcome in ('succeeded', 'failed', 'timed_out')
                              then extract(epoch from a.finished_at - a.claimed_at) end), 0) as run_seconds
                     from jobforge.attempts a where a.job_id = s.job_id and a.tenant_id = v_tenant) r
            union all  -- a row for each day, and for all of them
            select d::date, 'none', null, 0, 0
              from generate_series((p_from at time zone 'UTC')::date::timestamp,
                                   ((p_until - interval '1 microsecond') at time zone 'UTC')::date::timestamp, '1 day') d
        )
        select r.day, count(*) filter (where r.created_at is not null),
               count(*) filter (where r.state = 'succeeded'), count(*) filter (where r.state = 'dead'),
               count(*) filter (where r.state = 'canceled'), count(*) filter (where r.state is null),
               sum(r.attempts)::bigint, sum(r.run_seconds)::double precision,
               case when grouping(r.day) = 1 and (select count(*) from seen) >= v_limit then min(r.created_at) end
          from ran r group by grouping sets ((r.day), ()) order by r.day nulls first;
end
$$;

grant execute on function jobforge.report_usage_summary to jobforge_app, jobforge_admin;
comment on function jobforge.report_usage_summary is 'What a tenant has used in a period, by day.';
