-- Claims that begin after this is committed pass the tenant over. What runs goes on; what is enqueued waits.
create or replace function jobforge.pause_tenant(p_tenant_id text) returns setof jobforge.limits
language sql security definer
set search_path = pg_catalog, pg_temp
as $$ select * from jobforge.pause('tenant', p_tenant_id) $$;

grant execute on function jobforge.pause_tenant(text) to jobforge_admin;
comment on function jobforge.pause_tenant(text) is 'Let claims pass a tenant over.';
