-- Deletes up to p_limit jobs of a tenant, oldest first, with all that belongs to them. Answers how many it met; call it
-- until that is 0: then what is kept of the tenant beside its jobs is gone as well: keys, pause, quota, connectors, secrets. A running job loses its lease: its
-- worker is told, and what its handler wrote is rolled back. A job may be on its way from one table to the next while
-- we look; it goes only when a later look finds it nowhere, and what moved behind our back is left for the next call.
create or replace function jobforge.purge_tenant(p_tenant_id text, p_limit integer default 1000) returns integer
language plpgsql security definer
set search_path = pg_catalog, pg_temp
set lock_timeout = '2s'  -- it holds leases meanwhile, and completions of other tenants stand in one batch with those
set enable_seqscan = off  -- everything is met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_jobs uuid[];
    v_gone uuid[];
begin
    perform jobforge.check_tenant(p_tenant_id);
    perform jobforge.check_limit(p_limit);
    v_jobs := array(select j.id from jobforge.jobs j where j.tenant_id = p_tenant_id order by j.id limit p_limit);
    if v_jobs = '{}' then
        perform jobforge.purge_rest(p_tenant_id);
        return 0;
    end if;

    -- a unique key first, then its job's place: as an enqueue does that replaces a payload
    perform from jobforge.jobs j join jobforge.unique_keys k
                 on k.tenant_id = p_tenant_id and k.type = j.type and k.key = j.unique_key and k.job_id = j.id
      where j.id = any (v_jobs) order by k.type, k.key for update of k;
    with batch as materialized (
        select u.id from unnest(v_jobs) as u (id)
    ), scheduled as (
        delete from jobforge.scheduled s using batch b where s.tenant_id = p_tenant_id and s.job_id = b.id
    ), ready as (
        delete from jobforge.ready r using batch b where r.tenant_id = p_tenant_id and r.job_id = b.id
    ), held as materialized (  -- the order in which completions lock them
        select l.job_id from jobforge.leases l where l.job_id = any (v_jobs) order by l.job_id for update
    ), leases as (
        delete from jobforge.leases l using held h where l.job_id = h.job_id
    )
    delete from jobforge.outcomes o where o.job_id = any (v_jobs);

    v_gone := array(
        select u.id from unnest(v_jobs) as u (id)
         where not exists (select from jobforge.scheduled s where s.tenant_id = p_tenant_id and s.job_id = u.id)
           and not exists (select from jobforge.ready r where r.tenant_id = p_tenant_id and r.job_id = u.id)
           and not exists (select from jobforge.leases l where l.job_id = u.id)
           and not exists (select from jobforge.outcomes o where o.job_id = u.id));
    perform jobforge.leave_line(v_gone);
    perform jobforge.forget_jobs(v_gone);
    delete from jobforge.cancel_requests c where c.job_id = any (v_gone);
    delete from jobforge.idempotency_keys k using jobforge.jobs j
     where j.id = any (v_gone) and k.tenant_id = p_tenant_id and k.type = j.type and k.key = j.idempotency_key;
    delete from jobforge.unique_keys k using jobforge.jobs j
     where j.id = any (v_gone) and k.tenant_id = p_tenant_id and k.type = j.type and k.key = j.unique_key
       and k.job_id = j.id;
    delete from jobforge.waits w where w.job_id = any (v_gone);
    delete from jobforge.jobs j where j.id = any (v_gone);
    return cardinality(v_jobs);
end
$$;

grant execute on function jobforge.purge_tenant(text, integer) to jobforge_admin;
comment on function jobforge.purge_tenant(text, integer) is 'Delete jobs of a tenant and all that belongs to them.';
