-- The lanes of a queue in which there are jobs whose turn has come. They have no order in which they come back, so there are no
-- heads: where claims have passed many deleted ones the next come back into another lane, and this one empties itself. A
-- session begins at the first one that had any when it looked; with p_look at the very first. What is left in old ones, such
-- as jobs of a paused tenant, goes on to the newest.
create or replace function jobforge.turn_lanes(p_queue text, p_look boolean) returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_noted text := 'jobforge.turn_' || md5(p_queue);
    v_last  text := jobforge.turn_lane();
    v_from  text := least(coalesce(case when not p_look then nullif(current_setting(v_noted, true), '') end, '!turn'), v_last);
    v_lanes text[];
begin
    with recursive lane (name) as (
        select (select r.lane from jobforge.ready r where r.queue = p_queue and r.lane >= v_from and r.lane < '!turo'
                 order by r.lane limit 1)
        union all
        select (select r.lane from jobforge.ready r where r.queue = p_queue and r.lane > l.name and r.lane < '!turo'
                 order by r.lane limit 1) from lane l where l.name is not null
    )
    select array_agg(l.name order by l.name) into v_lanes from lane l where l.name is not null;
    if v_last > '!turn000000001' then
        perform set_config(v_noted, coalesce(v_lanes[1], v_last), false);
    end if;
    if p_look and cardinality(v_lanes) > 3 then
        with old as materialized (
            select r.ctid from jobforge.ready r where r.queue = p_queue and r.lane = v_lanes[1] limit 1000 for update skip locked
        ), gone as (
            delete from jobforge.ready r where r.ctid = any (array(select o.ctid from old o)) returning r.*
        )
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes, v_last from gone g;
    end if;
    return v_lanes;
end
$$;

comment on function jobforge.turn_lanes is 'The lanes of a queue in which there are jobs whose turn has come.';
