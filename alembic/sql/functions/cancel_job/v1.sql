-- Cancels a job of this tenant: at once while it waits; a running one is told, and ends as canceled unless it
-- succeeds first; a final one stays as it is. Returns the job as it is now; nothing for an unknown id or another
-- tenant's, which look the same.
create or replace function jobforge.cancel_job(p_job_id uuid, p_notify boolean default true)
returns setof jobforge.all_jobs
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.require_tenant(null);
begin
    perform jobforge.cancel_now(v_tenant, p_job_id, p_notify);
    return query select * from jobforge.all_jobs a where a.tenant_id = v_tenant and a.id = p_job_id;
end
$$;

grant execute on function jobforge.cancel_job to jobforge_app, jobforge_admin;
comment on function jobforge.cancel_job is 'Cancel a job of this tenant; a running one is told.';
