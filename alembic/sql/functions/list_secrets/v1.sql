-- The secrets of a tenant, or of all tenants, without their values: no function gives those but connector_of_run.
-- previous_until is there while the one before is valid.
create or replace function jobforge.list_secrets(p_tenant_id text default null) returns table (
    tenant_id text, name text, kind text, hosts text[], previous_until timestamptz, updated_at timestamptz
)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select s.tenant_id, s.name, s.kind, s.hosts, case when s.previous_until > jobforge.now() then s.previous_until end,
           s.updated_at
      from jobforge.connector_secrets s
     where p_tenant_id is null or s.tenant_id = p_tenant_id order by s.tenant_id, s.name
$$;

grant execute on function jobforge.list_secrets to jobforge_admin;
comment on function jobforge.list_secrets is 'The secrets of a tenant, or of all, without their values.';
