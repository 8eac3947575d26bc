-- What caused a job, up to the first of the line, and all that it caused: a row for each job, depth 0 is the job itself, those
-- above it count down and those below it up. A parent that is pruned, or that the caller may not see, has a row without
-- a type. Rights as in get_job: the policies decide. A tenant's job hangs on a job of the same tenant; only
-- a copy, the replay that an administrator made elsewhere, leads to another one. At most p_limit rows each way and p_depth
-- steps: cut says in every row that there is more. Nobody chooses the id of a job, so that there are no cycles; one that
-- somebody wrote by hand ends at these bounds.
create or replace function jobforge.impact_of_job(
    p_job_id uuid, p_limit integer default 1000, p_depth integer default 1000
) returns table (
    job_id uuid, depth integer, parent_id uuid, cause text, tenant_id text, queue text, type text, subject text, trace json,
    state text, run integer, attempt integer, max_attempts integer, crashes integer, created_at timestamptz,
    finished_at timestamptz, outcome text, error_type text, cut boolean)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- as in list_jobs
set enable_seqscan = off  -- everything is met by key: parent_id has no statistics, and the guess is a scan of all
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
    v_job    jobforge.all_jobs;
begin
    if p_limit is null or p_limit not between 1 and 10000 or p_depth is null or p_depth not between 0 and 10000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000, p_depth between 0 and 10000'
            using errcode = 'JF003', hint = 'Ask for the impact of a job further down.';
    end if;
    select * into v_job from jobforge.get_job(p_job_id);
    if not found then
        return;
    end if;
    return query
        with recursive up as (
            select v_job.id, v_job.tenant_id, v_job.parent_id, v_job.cause, 0 as depth
            union all
            select p.id, p.tenant_id, p.parent_id, p.cause, u.depth - 1
              from up u join jobforge.jobs p on p.id = u.parent_id
               and (v_tenant is null or p.tenant_id = v_tenant) and (p.tenant_id = u.tenant_id or u.cause = 'copy')
             where u.depth > -p_depth
        ), above as materialized (select * from up limit p_limit),
        down as (
            select v_job.id, v_job.tenant_id, v_job.parent_id, v_job.cause, 0 as depth
            union all
            select c.id, c.tenant_id, c.parent_id, c.cause, d.depth + 1
              from down d join jobforge.jobs c on c.parent_id = d.id
               and (v_tenant is null or c.tenant_id = v_tenant) and (c.tenant_id = d.tenant_id or c.cause = 'copy')
             where d.depth <= p_depth
        ), below as materialized (select * from down limit p_limit + 1),
        top as (select * from above order by depth limit 1),
        found as (
            select * from above where depth < 0
            union all (select * from below where depth <= p_depth limit p_limit)
            union all
            select t.parent_id, null, null, null, t.depth - 1 from top t
             where t.parent_id is not null and t.depth > -least(p_depth, p_limit - 1)
        )
        select f.id, f.depth, f.parent_id, f.cause, f.tenant_id, a.queue, a.type, a.subject, a.trace, a.state, a.run,
               a.attempt, a.max_attempts, a.crashes, a.created_at, a.finished_at, l.outcome, l.error ->> 'type',
               (select count(*) > p_limit or max(b.depth) > p_depth from below b)
               or exists (select from top t where t.parent_id is not null and t.depth = -least(p_depth, p_limit - 1))
          from found f
          left join lateral (select * from jobforge.all_jobs one where one.id = f.id and one.tenant_id = f.tenant_id limit 1) a on true
          left join lateral (
               select t.outcome, t.error from jobforge.all_attempts t
                where t.job_id = f.id and t.tenant_id = f.tenant_id order by t.run desc limit 1) l on true
         order by f.depth, f.id;
end
$$;

grant execute on function jobforge.impact_of_job to jobforge_app, jobforge_admin;
comment on function jobforge.impact_of_job is 'What caused a job, and all that it caused.';
