-- Refuses more waiting jobs than the tenant's quota. It is called after the new ones were stored, and counts those
-- and what is committed, no further than to the quota. Nothing is locked: a long import would stop all other requests
-- of its tenant. So transactions that race at the very edge may pass it together.
create or replace function jobforge.check_quota(p_tenant_id text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_quota   integer := (select t.max_waiting from jobforge.tenants t where t.tenant_id = p_tenant_id);
    v_queue   text collate "C" := '';
    v_waiting integer;
begin
    if v_quota is null then
        return;
    end if;
    select count(*) into v_waiting
      from (select from jobforge.scheduled s where s.tenant_id = p_tenant_id limit v_quota + 1) s;
    while v_waiting <= v_quota loop
        -- the index begins with the queue: from one to the next, however many jobs of others there are
        select min(r.queue) into v_queue from jobforge.ready r where r.queue > v_queue;
        exit when v_queue is null;
        v_waiting := v_waiting + (select count(*) from (
            select from jobforge.ready r where r.queue = v_queue and r.tenant_id = p_tenant_id
             limit v_quota + 1 - v_waiting) q);
    end loop;
    if v_waiting > v_quota then
        raise exception 'jobforge: the tenant''s quota of % waiting jobs is used up', v_quota
            using errcode = 'JF007', hint = 'Wait until some have run; or an administrator raises it: limit_tenant.';
    end if;
end
$$;

comment on function jobforge.check_quota(text) is 'Raises JF007 where a tenant has more waiting jobs than its quota.';
