-- get_job, for somebody who waits: unless the job has ended, its end is told on the channel jobforge_done, for p_for from
-- now. The NOTIFY is a hint; look again from time to time. In a transaction of its own, for it holds the wait until commit.
create or replace function jobforge.await_job(p_job_id uuid, p_for interval default '1 minute')
returns setof jobforge.all_jobs
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_now    timestamptz := jobforge.now();
begin
    if not jobforge.check_interval(p_for, interval '0', interval '1 hour') or p_for is null then
        raise exception 'jobforge: p_for must be between 0 and 1 hour'
            using errcode = 'JF003', hint = 'Call it again when that is over.';
    end if;
    insert into jobforge.waits (job_id, tenant_id, until)
    select j.id, v_tenant, v_now + p_for from jobforge.jobs j
     where j.tenant_id = v_tenant and j.id = p_job_id
       and not exists (select from jobforge.outcomes o where o.job_id = j.id)
    on conflict (job_id) do update set until = greatest(waits.until, excluded.until);
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$$;

grant execute on function jobforge.await_job to jobforge_app, jobforge_admin;
comment on function jobforge.await_job is 'The job as it is now; its end will be told on the channel jobforge_done.';
