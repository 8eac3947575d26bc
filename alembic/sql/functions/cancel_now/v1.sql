-- Cancels a job where it stands. Places are looked through in the order in which jobs move (scheduled, ready, leases),
-- and again, because the job may have moved behind our back (a retry goes back to the front).
create or replace function jobforge.cancel_now(p_tenant_id text, p_job_id uuid, p_notify boolean) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_job  jobforge.jobs;
    v_gone jobforge.scheduled;
begin
    select * into v_job from jobforge.jobs j where j.tenant_id = p_tenant_id and j.id = p_job_id;
    if not found then
        return;
    end if;
    for i in 1 .. 100 loop
        v_gone := jobforge.leave_place(v_job);
        if v_gone.run is not null then
            perform jobforge.end_waiting(array[v_gone], p_notify);
            return;
        end if;
        -- no lock on the lease: our caller's transaction may stay open, and its completion stands in a batch with those
        -- of other tenants. A run that ends without seeing the request is settled by upkeep.
        perform from jobforge.leases l where l.job_id = v_job.id;
        if found then
            insert into jobforge.cancel_requests (job_id, tenant_id, requested_at)
            values (v_job.id, v_job.tenant_id, jobforge.now()) on conflict do nothing;
            if p_notify is not false then
                perform jobforge.wake(':cancel');  -- in place of a queue's name: workers send a heartbeat at once
            end if;
            return;
        end if;
        exit when exists (select from jobforge.outcomes o where o.job_id = v_job.id);
    end loop;
end
$$;

comment on function jobforge.cancel_now is 'Cancel a job where it stands.';
