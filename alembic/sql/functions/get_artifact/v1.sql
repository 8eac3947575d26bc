-- One artifact with its bytes. Rights as in get_job: the policies decide, and the tenant of the transaction, where one is
-- set, holds for those too whom no policy binds.
create or replace function jobforge.get_artifact(p_job_id uuid, p_name text) returns table (
    job_id uuid, name text, tenant_id text, media_type text, size bigint, sha256 text, location text,
    created_at timestamptz, body bytea
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.current_tenant();
    v_all    boolean := v_tenant is null and row_security_active('jobforge.artifacts');
begin
    return query
        select a.job_id, a.name, a.tenant_id, a.media_type, a.size, a.sha256, a.location, a.created_at, a.body
          from jobforge.artifacts a
         where a.job_id = p_job_id and a.name = p_name and (v_all or a.tenant_id = v_tenant);
end
$$;

grant execute on function jobforge.get_artifact to jobforge_app, jobforge_admin;
comment on function jobforge.get_artifact is 'One artifact with its bytes.';
