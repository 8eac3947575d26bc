-- Moves a waiting job of this tenant to another time: p_run_at, or p_delay from now; neither: now. Attempts stay.
-- Returns the job as it is now; nothing for an unknown id. A running or final job raises JF008.
create or replace function jobforge.reschedule_job(
    p_job_id uuid, p_run_at timestamptz default null, p_delay interval default null, p_notify boolean default true
) returns setof jobforge.all_jobs
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.require_tenant(null);
    v_job    jobforge.jobs;
    v_gone   jobforge.scheduled;
begin
    select * into v_job from jobforge.jobs j where j.tenant_id = v_tenant and j.id = p_job_id;
    if not found then
        return;
    end if;
    perform jobforge.check_job(null, v_job.type, '{}', v_job.queue, null, p_run_at, p_delay, null, null, null, null, null,
                               null);
    for i in 1 .. 5 loop  -- who was waited for has moved it: it stands where this statement could not see it yet
        v_gone := jobforge.leave_place(v_job);
        exit when v_gone.run is not null;
    end loop;
    if v_gone.run is null then
        raise exception 'jobforge: the job is running or has ended, it cannot be moved'
            using errcode = 'JF008', hint = 'Cancel it if it is running; retry_job brings a dead or canceled one back.';
    end if;
    v_gone.run_at := coalesce(p_run_at, jobforge.now() + p_delay);
    perform jobforge.enter_places(array[v_gone], p_notify);
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$$;

grant execute on function jobforge.reschedule_job to jobforge_app, jobforge_admin;
comment on function jobforge.reschedule_job is 'Move a waiting job of this tenant to another time.';
