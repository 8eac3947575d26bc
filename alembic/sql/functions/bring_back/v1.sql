-- Brings jobs of a tenant that is not stopped any more back to where claims find them, of any such one where p_tenant_id is
-- NULL: up to p_limit, of up to 1,000 tenants, from one that is stopped on, by chance. Returns how many came back.
create or replace function jobforge.bring_back(p_tenant_id text, p_limit integer) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_tenant  text collate "C";
    v_wrapped boolean := false;
    v_moved   integer := 0;
    v_now     integer;
begin
    if p_tenant_id is null then
        if not exists (select from jobforge.ready r where r.aside = '!stopped') then
            return 0;
        end if;
        v_tenant := coalesce((select l.name from jobforge.limits l
                               where l.scope = 'tenant' and (l.paused_at is not null or l.max_running = 0)
                               order by random() limit 1), '');
    end if;
    for i in 1 .. case when p_tenant_id is null then 1000 else 1 end loop
        v_tenant := coalesce(p_tenant_id, (
            select r.tenant_id from jobforge.ready r
             where r.aside = '!stopped' and r.tenant_id > v_tenant order by r.tenant_id limit 1));
        if v_tenant is null and not v_wrapped then
            v_tenant := '';
            v_wrapped := true;
            continue;
        end if;
        exit when v_tenant is null or v_moved >= p_limit;
        continue when exists (select from jobforge.limits l
                               where l.scope = 'tenant' and l.name = v_tenant
                                 and (l.paused_at is not null or l.max_running = 0));
        with back as materialized (
            select r.ctid from jobforge.ready r where r.aside = '!stopped' and r.tenant_id = v_tenant
             order by r.queue, r.priority, r.job_id limit p_limit - v_moved for update skip locked
        ), gone as (
            delete from jobforge.ready r where r.ctid = any (array(select b.ctid from back b)) returning r.*
        )
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes,
               case when g.crashes < 2 then (select jobforge.lane_back()) end from gone g;
        get diagnostics v_now = row_count;
        v_moved := v_moved + v_now;
    end loop;
    return v_moved;
end
$$;

comment on function jobforge.bring_back is 'Jobs of tenants that are not stopped any more can be claimed again.';
