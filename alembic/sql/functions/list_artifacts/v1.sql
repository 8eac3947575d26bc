-- Artifacts without their bytes, those of the newest jobs first, in pages: pass job_id and name of the last one as
-- p_cursor and p_cursor_name. Rights as in get_artifact.
create or replace function jobforge.list_artifacts(
    p_job_id uuid default null, p_limit integer default 50, p_cursor uuid default null, p_cursor_name text default null
) returns table (
    job_id uuid, name text, tenant_id text, media_type text, size bigint, sha256 text, location text,
    created_at timestamptz
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
set plan_cache_mode = force_custom_plan  -- with a tenant and without, each has its own index
set jit = off
as $$
declare
    v_tenant text := jobforge.current_tenant();
    v_all    boolean := v_tenant is null and row_security_active('jobforge.artifacts');
begin
    if p_limit is null or p_limit not between 1 and 1000 then
        raise exception 'jobforge: p_limit must be between 1 and 1000'
            using errcode = 'JF003', hint = 'Ask for pages: pass the last one as p_cursor and p_cursor_name.';
    end if;
    return query
        select a.job_id, a.name, a.tenant_id, a.media_type, a.size, a.sha256, a.location, a.created_at
          from jobforge.artifacts a
         where (v_all or a.tenant_id = v_tenant) and (p_job_id is null or a.job_id = p_job_id)
           and (p_cursor is null or a.job_id <= p_cursor)
           and (p_cursor is null or a.job_id < p_cursor or a.name < p_cursor_name)
         order by a.job_id desc, a.name desc limit p_limit;
end
$$;

grant execute on function jobforge.list_artifacts to jobforge_app, jobforge_admin;
comment on function jobforge.list_artifacts is 'Artifacts without their bytes, in pages.';
