-- Forgets what was said of a tenant's connector, or ('') of all its connectors. Answers what that was, if anything.
create or replace function jobforge.drop_connector(p_tenant_id text, p_type text default '')
returns setof jobforge.connectors
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    delete from jobforge.connectors c where c.tenant_id = p_tenant_id and c.type = coalesce(p_type, '') returning *
$$;

grant execute on function jobforge.drop_connector to jobforge_admin;
comment on function jobforge.drop_connector is 'Forget what was said of a tenant''s connector.';
