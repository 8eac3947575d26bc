-- What was said of the connectors of a tenant, or of all tenants. For administrators.
create or replace function jobforge.list_connectors(p_tenant_id text default null) returns setof jobforge.connectors
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select * from jobforge.connectors c where p_tenant_id is null or c.tenant_id = p_tenant_id order by c.tenant_id, c.type
$$;

grant execute on function jobforge.list_connectors to jobforge_admin;
comment on function jobforge.list_connectors is 'What was said of the connectors of a tenant, or of all.';
