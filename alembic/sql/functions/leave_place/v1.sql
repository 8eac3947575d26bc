-- Takes a job out of the place where it waits, and gives what stood there; without run_at: it was claimable. NULL: it
-- was seen in neither place. Deleting the narrow row is the lock: a claim that holds it makes us wait, and then there is
-- nothing to delete. Places are looked through in the order in which jobs move; who was waited for may have moved it, so
-- the caller looks again.
create or replace function jobforge.leave_place(p_job jobforge.jobs) returns jobforge.scheduled
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_gone jobforge.scheduled;
begin
    delete from jobforge.scheduled s where s.tenant_id = p_job.tenant_id and s.job_id = p_job.id
    returning s.* into v_gone;
    if found then
        return v_gone;
    end if;
    delete from jobforge.ready r where r.tenant_id = p_job.tenant_id and r.job_id = p_job.id
    returning r.tenant_id, r.job_id, null, r.queue, r.priority, r.type, r.run, r.attempt, r.crashes into v_gone;
    if found then
        return v_gone;
    end if;
    return null;
end
$$;

comment on function jobforge.leave_place is 'Take a job out of the place where it waits.';
