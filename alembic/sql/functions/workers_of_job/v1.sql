-- workers_of, for a job of this tenant; an administrator may ask for any. Numbers and times only: a worker's name is nothing
-- for tenants.
create or replace function jobforge.workers_of_job(p_job_id uuid)
returns table (living integer, knowing integer, last_alive timestamptz, alive_until timestamptz, started_at timestamptz)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select w.living, w.knowing, w.last_alive, w.alive_until, w.started_at
      from jobforge.jobs j
      left join jobforge.leases l on l.job_id = j.id
     cross join lateral jobforge.workers_of(j.queue, j.type, l.worker_id) w
     where j.id = p_job_id
       and (j.tenant_id = (select jobforge.current_tenant())
            or pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'jobforge_admin', 'member'))
$$;

grant execute on function jobforge.workers_of_job(uuid) to jobforge_app, jobforge_admin;
comment on function jobforge.workers_of_job(uuid) is 'How many workers live that could run this job.';
