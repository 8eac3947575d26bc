-- Whether one lease still stands, and keeps it standing until this transaction ends: a handler that commits in
-- steps asks at each, so that no step of a lost run is ever committed. The token is the right; a tenant, where one
-- is set, must be the job's. A lock that nobody else takes on a live lease, and no update.
create or replace function jobforge.heartbeat_job(p_job_id uuid, p_lease_token uuid)
returns table (held boolean, cancel_requested boolean, deadline timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_deadline timestamptz;
begin
    select l.deadline into v_deadline from jobforge.leases l
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       for share;
    return query select v_deadline is not null,
                        exists (select from jobforge.cancel_requests c where c.job_id = p_job_id and v_deadline is not null),
                        v_deadline;
end
$$;

grant execute on function jobforge.heartbeat_job to jobforge_app, jobforge_worker;
comment on function jobforge.heartbeat_job is 'Whether this lease stands; holds it until the transaction ends.';
