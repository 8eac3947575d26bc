-- Whether a suspect waits that this worker could run, for one that is busy: it claims nothing more until it is empty, and
-- asks claim_suspect then. A look costs index probes and takes no locks.
create or replace function jobforge.has_suspect(p_queues text[], p_types text[]) returns boolean
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
begin
    return exists (
        select from jobforge.ready r
         where r.queue = any (p_queues) and r.suspect and r.type = any (p_types)
           and not exists (select from jobforge.tenants t where t.tenant_id = r.tenant_id and t.paused_at is not null));
end
$$;

grant execute on function jobforge.has_suspect to jobforge_worker;
comment on function jobforge.has_suspect is 'Whether a suspect waits that a worker could run.';
