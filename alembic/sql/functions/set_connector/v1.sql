-- Says what the built-in handlers may do for a tenant: of one connector, or ('') of all that have no row of their own for
-- that setting. It replaces what was said before, and holds for runs that begin after the commit.
create or replace function jobforge.set_connector(p_tenant_id text, p_config json, p_type text default '')
returns setof jobforge.connectors
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_tenant(p_tenant_id);
    perform jobforge.check_connector(coalesce(p_type, ''), p_config);
    return query
        insert into jobforge.connectors (tenant_id, type, config, updated_at)
        values (p_tenant_id, coalesce(p_type, ''), p_config, jobforge.now())
        on conflict (tenant_id, type) do update set config = excluded.config, updated_at = excluded.updated_at
        returning *;
end
$$;

grant execute on function jobforge.set_connector to jobforge_admin;
comment on function jobforge.set_connector is 'Say what the built-in handlers may do for a tenant.';
