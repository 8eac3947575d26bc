-- The tenant's jobs can be claimed again. Workers of its queues are woken.
create or replace function jobforge.resume_tenant(p_tenant_id text) returns setof jobforge.tenants
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_queue text collate "C" := '';
begin
    perform jobforge.check_tenant(p_tenant_id);
    return query update jobforge.tenants t set paused_at = null where t.tenant_id = p_tenant_id returning t.*;
    delete from jobforge.tenants t where t.tenant_id = p_tenant_id and t.max_waiting is null;
    for i in 1 .. 1000 loop  -- the workers of more will find out by polling
        select min(r.queue) into v_queue from jobforge.ready r where r.queue > v_queue;
        exit when v_queue is null;
        perform jobforge.wake(v_queue)
         where exists (select from jobforge.ready r where r.queue = v_queue and not r.suspect and r.tenant_id = p_tenant_id)
            or exists (select from jobforge.ready r where r.queue = v_queue and r.suspect and r.tenant_id = p_tenant_id);
    end loop;
end
$$;

grant execute on function jobforge.resume_tenant(text) to jobforge_admin;
comment on function jobforge.resume_tenant(text) is 'Let a paused tenant''s jobs be claimed again.';
