-- One job as it is now. Runs with the rights of who asks, so the policies decide; the tenant of the transaction,
-- where one is set, holds for those too whom no policy binds (admins, superusers).
create or replace function jobforge.get_job(p_job_id uuid) returns setof jobforge.all_jobs
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.current_tenant();
begin
    return query select * from jobforge.all_jobs a where a.id = p_job_id and a.tenant_id = coalesce(v_tenant, a.tenant_id);
end
$$;

grant execute on function jobforge.get_job to jobforge_app, jobforge_admin;
comment on function jobforge.get_job is 'One job as it is now.';
