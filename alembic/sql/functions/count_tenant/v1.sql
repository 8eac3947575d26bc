-- How much there is of a tenant, table by table: what an export would write and a purge would delete.
create or replace function jobforge.count_tenant(p_tenant_id text) returns table (relation text, "rows" bigint)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_tenant(p_tenant_id);
    return query
        select 'jobs', count(*) from jobforge.jobs j where j.tenant_id = p_tenant_id
        union all select 'ready', count(*) from jobforge.ready r where r.tenant_id = p_tenant_id
        union all select 'scheduled', count(*) from jobforge.scheduled s where s.tenant_id = p_tenant_id
        union all select 'leases', count(*) from jobforge.leases l where l.tenant_id = p_tenant_id
        union all select 'outcomes', count(*) from jobforge.outcomes o where o.tenant_id = p_tenant_id
        union all select 'results', count(*) from jobforge.results r where r.tenant_id = p_tenant_id
        union all select 'attempts', count(*) from jobforge.attempts a where a.tenant_id = p_tenant_id
        union all select 'artifacts', count(*) from jobforge.artifacts f where f.tenant_id = p_tenant_id
        union all select 'cancel_requests', count(*) from jobforge.cancel_requests c where c.tenant_id = p_tenant_id
        union all select 'idempotency_keys', count(*) from jobforge.idempotency_keys k where k.tenant_id = p_tenant_id
        union all select 'unique_keys', count(*) from jobforge.unique_keys k where k.tenant_id = p_tenant_id
        union all select 'waits', count(*) from jobforge.waits w where w.tenant_id = p_tenant_id
        union all select 'lines', count(*) from jobforge.lines l where l.tenant_id = p_tenant_id
        union all select 'connectors', count(*) from jobforge.connectors c where c.tenant_id = p_tenant_id
        union all select 'connector_secrets', count(*) from jobforge.connector_secrets s where s.tenant_id = p_tenant_id
        union all select 'webhook_endpoints', count(*) from jobforge.webhook_endpoints e where e.tenant_id = p_tenant_id
        union all select 'webhook_deliveries', count(*) from jobforge.webhook_deliveries d where d.tenant_id = p_tenant_id
        union all select 'turns', count(*) from jobforge.turns u where u.tenant_id = p_tenant_id
        union all select 'limits', count(*) from jobforge.limits t where t.tenant_id = p_tenant_id;
end
$$;

grant execute on function jobforge.count_tenant(text) to jobforge_admin;
comment on function jobforge.count_tenant(text) is 'How many rows each table has of a tenant.';
