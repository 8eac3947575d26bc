-- The next tenant with jobs in a lane, where some have a head: between two of those it is the next in the index, and of these
-- it is looked whether anything stands behind the head. So nobody's deleted jobs are passed.
create or replace function jobforge.next_tenant(p_queue text, p_lane text, p_after text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_after  text collate "C" := p_after;
    v_tenant text collate "C";
    v_head   jobforge.heads;
begin
    loop
        select * into v_head from jobforge.heads h
         where h.queue = p_queue and h.lane = p_lane and h.tenant_id > v_after order by h.tenant_id limit 1;
        if not found then
            return (select r.tenant_id from jobforge.ready r
                     where r.queue = p_queue and r.lane = p_lane and r.tenant_id > v_after order by r.tenant_id limit 1);
        end if;
        v_tenant := (select r.tenant_id from jobforge.ready r
                      where r.queue = p_queue and r.lane = p_lane and r.tenant_id > v_after and r.tenant_id < v_head.tenant_id
                      order by r.tenant_id limit 1);
        if v_tenant is not null then
            return v_tenant;
        end if;
        if exists (select from jobforge.ready r
                    where r.queue = p_queue and r.lane = p_lane and r.tenant_id = v_head.tenant_id
                      and (r.priority, r.job_id) >= (v_head.priority, v_head.job_id)) then
            return v_head.tenant_id;
        end if;
        v_after := v_head.tenant_id;
    end loop;
end
$$;

comment on function jobforge.next_tenant is 'The next tenant with jobs in a lane, by the heads.';
