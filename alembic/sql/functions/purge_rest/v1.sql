-- What is kept of a tenant beside its jobs, once these are purged: keys of jobs that are gone, its lines, what was said of it, what its
-- connectors may do, their secrets, and how its endpoints stand.
create or replace function jobforge.purge_rest(p_tenant_id text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    -- those of jobs that were pruned; one that came this moment has its job beside it, and keeps its key
    delete from jobforge.idempotency_keys k
     where k.tenant_id = p_tenant_id and not exists (select from jobforge.jobs j where j.id = k.job_id);
    delete from jobforge.unique_keys k
     where k.tenant_id = p_tenant_id and not exists (select from jobforge.jobs j where j.id = k.job_id);
    delete from jobforge.lines l
     where l.tenant_id = p_tenant_id and not exists (select from jobforge.jobs j where j.id = l.job_id);
    delete from jobforge.turns t where t.tenant_id = p_tenant_id;
    delete from jobforge.heads h where h.tenant_id = p_tenant_id;
    delete from jobforge.limits l where l.scope = 'tenant' and l.name = p_tenant_id;
    delete from jobforge.connectors c where c.tenant_id = p_tenant_id;
    delete from jobforge.connector_secrets s where s.tenant_id = p_tenant_id;
    delete from jobforge.webhook_endpoints e where e.tenant_id = p_tenant_id;  -- who logs a delivery has a job's lease
end
$$;

comment on function jobforge.purge_rest(text) is 'Delete what is kept of a tenant beside its jobs.';
