-- Whether something was said of a job's tenant, queue or task: then an index counts its lease.
create or replace function jobforge.is_limited(p_tenant_id text, p_queue text, p_type text) returns boolean
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return exists (select from jobforge.limits l where l.scope = 'tenant' and l.name = p_tenant_id)
        or exists (select from jobforge.limits l where l.scope = 'queue' and l.name = p_queue)
        or exists (select from jobforge.limits l where l.scope = 'task' and l.name = p_type);
end
$$;

comment on function jobforge.is_limited is 'Whether something was said of a tenant, a queue or a task.';
