-- Brings a dead or canceled job of this tenant back to the queue with all its attempts anew; what it went through
-- stays on record, and its runs go on counting. Returns the job as it is now; nothing for an unknown id. Any other
-- state raises JF008: two retries of one job make one run.
create or replace function jobforge.retry_job(p_job_id uuid, p_notify boolean default true)
returns setof jobforge.all_jobs
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_job    jobforge.jobs;
    v_run    integer;
begin
    select * into v_job from jobforge.jobs j where j.tenant_id = v_tenant and j.id = p_job_id;
    if not found then
        return;
    end if;
    for i in 1 .. 5 loop  -- who was waited for has retried and canceled it: another outcome, which was not seen yet
        delete from jobforge.outcomes o
         where o.job_id = v_job.id and o.state in ('dead', 'canceled') returning o.run into v_run;
        exit when found;
    end loop;
    if v_run is null and not exists (select from jobforge.jobs j where j.id = v_job.id) then
        return;  -- who was waited for has pruned or purged it
    end if;
    if v_run is null then
        raise exception 'jobforge: only a dead or canceled job can be retried'
            using errcode = 'JF008', hint = 'Enqueue a new job to run it once more.';
    end if;
    if v_job.unique_key is not null then
        perform from jobforge.take_unique_key(v_tenant, v_job.type, v_job.unique_key, 'keep', v_job.payload, v_job.id,
                                              false);
        if found then
            raise exception 'jobforge: another job with its unique key waits or runs'
                using errcode = 'JF008', hint = 'Wait until that has ended, or cancel it.';
        end if;
    end if;
    delete from jobforge.cancel_requests c where c.job_id = v_job.id;  -- one that came too late for an earlier run
    perform jobforge.enter_lines(array[v_job.id]);
    perform jobforge.enter_places(
        array[row(v_tenant, v_job.id, null, v_job.queue, v_job.priority, v_job.type, v_run, 0, 0)::jobforge.scheduled],
        p_notify);
    if exists (select from jobforge.limits l where l.scope = 'tenant' and l.name = v_tenant and l.max_waiting is not null) then
        perform jobforge.check_quota(v_tenant);
    end if;
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$$;

grant execute on function jobforge.retry_job to jobforge_app, jobforge_admin;
comment on function jobforge.retry_job is 'Bring a dead or canceled job of this tenant back, with all its attempts.';
