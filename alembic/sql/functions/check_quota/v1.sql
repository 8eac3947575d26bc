-- Refuses more waiting jobs than the tenant's quota. It is called after the new ones were stored, and counts those and what
-- is committed, no further than to the quota. Nothing is locked: a long import would stop all other requests of its tenant.
-- So transactions that race at the very edge may pass it together.
create or replace function jobforge.check_quota(p_tenant_id text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
as $$
declare
    v_quota integer := (select l.max_waiting from jobforge.limits l where l.scope = 'tenant' and l.name = p_tenant_id);
    v_left  integer := v_quota + 1;  -- so many more, and it is over
begin
    if v_quota is null then
        return;
    end if;
    v_left := v_left - (select count(*) from (
        select from jobforge.scheduled s where s.tenant_id = p_tenant_id limit v_left) s);
    v_left := v_left - (select count(*) from (
        select from jobforge.ready r where r.tenant_id = p_tenant_id limit greatest(v_left, 0)) r);
    if v_left <= 0 then
        raise exception 'jobforge: the tenant''s quota of % waiting jobs is used up', v_quota
            using errcode = 'JF007', hint = 'Wait until some have run; or an administrator raises it: limit_tenant.';
    end if;
end
$$;

comment on function jobforge.check_quota(text) is 'Raises JF007 where a tenant has more waiting jobs than its quota.';
