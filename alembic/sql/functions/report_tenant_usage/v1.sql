-- What a tenant takes up: of its jobs that were enqueued in [p_from, p_until), by queue and type, the bytes of payloads,
-- results and artifacts as they are stored (compressed where they are large), runs and their time. The first row, without
-- a queue, is all of them, and has the limits in force; then the 200 groups with most jobs, of `kinds`. See report_jobs
-- for the rights, and for what it costs.
create or replace function jobforge.report_tenant_usage(
    p_from timestamptz, p_until timestamptz, p_limit integer default 500000
) returns table (
    queue text, type text, enqueued bigint, attempts bigint, run_seconds double precision, payload_bytes bigint,
    result_bytes bigint, artifact_bytes bigint, kinds bigint, back_to timestamptz,
    max_waiting integer, paused_at timestamptz, max_artifact_bytes integer
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
    v_said   record;
begin
    select t.max_waiting, t.paused_at into v_said from jobforge.limits t where t.tenant_id = v_tenant;
    return query
        with seen as materialized (
            select * from jobforge.report_jobs(p_from, p_until, v_limit)
        ), used as (
            select s.queue, s.type, s.created_at, s.payload_bytes, r.attempts, r.run_seconds,
                   coalesce((select pg_column_size(v.value) from jobforge.results v
                              where v.job_id = s.job_id and v.tenant_id = v_tenant), 0) as result_bytes,
                   coalesce((select sum(pg_column_size(f.body)) from jobforge.artifacts f
                              where f.job_id = s.job_id and f.tenant_id = v_tenant), 0) as artifact_bytes
              from seen s cross join lateral (
                   select count(*) filter (where a.outcome in ('succeeded', 'failed', 'timed_out')) as attempts,
                          coalesce(sum(case when a.run_ms is not null then a.run_ms / 1000.0
                              when a.outcome in ('succeeded', 'failed', 'timed_out')
                              then extract(epoch from a.finished_at - a.claimed_at) end), 0) as run_seconds
                     from jobforge.attempts a where a.job_id = s.job_id and a.tenant_id = v_tenant) r
        )
        select u.queue, u.type, count(*), coalesce(sum(u.attempts), 0)::bigint,
               coalesce(sum(u.run_seconds), 0)::double precision, coalesce(sum(u.payload_bytes), 0)::bigint,
               coalesce(sum(u.result_bytes), 0)::bigint, coalesce(sum(u.artifact_bytes), 0)::bigint,
               count(distinct (u.queue, u.type)),
               case when u.queue is null and count(*) >= v_limit then min(u.created_at) end,
               case when u.queue is null then v_said.max_waiting end, case when u.queue is null then v_said.paused_at end,
               case when u.queue is null then jobforge.artifact_limit() end
          from used u group by grouping sets ((u.queue, u.type), ())
         order by u.queue is not null, count(*) desc, u.queue, u.type limit 201;
end
$$;

grant execute on function jobforge.report_tenant_usage to jobforge_app, jobforge_admin;
comment on function jobforge.report_tenant_usage is 'What a tenant''s jobs of a period take up, by queue and type.';
