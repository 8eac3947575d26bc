-- Forgets a secret of a tenant's, and the one that it replaced. Answers what it was, without its value, if there was one.
create or replace function jobforge.drop_secret(p_tenant_id text, p_name text) returns table (
    tenant_id text, name text, kind text, hosts text[], previous_until timestamptz, updated_at timestamptz
)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    delete from jobforge.connector_secrets s where s.tenant_id = p_tenant_id and s.name = p_name
    returning s.tenant_id, s.name, s.kind, s.hosts, s.previous_until, s.updated_at
$$;

grant execute on function jobforge.drop_secret to jobforge_admin;
comment on function jobforge.drop_secret is 'Forget a secret of a tenant''s.';
