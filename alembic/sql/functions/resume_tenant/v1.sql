-- Jobs of the tenant can be claimed again. Workers are woken. Nothing for a tenant of which nothing was said.
create or replace function jobforge.resume_tenant(p_tenant_id text) returns setof jobforge.limits
language sql security definer
set search_path = pg_catalog, pg_temp
as $$ select * from jobforge.resume('tenant', p_tenant_id) $$;

grant execute on function jobforge.resume_tenant(text) to jobforge_admin;
comment on function jobforge.resume_tenant(text) is 'Let the jobs of a paused tenant be claimed again.';
