-- Takes what a worker may not run out of the way of its claims, among the first rows of some tenants (p_limit for all of
-- them): a type that is not among p_types into the lane of its name, where those who know it find it; a job that waits for
-- others of its line into "!ordered", with a turn (take_turns). With p_lane everything, into that one. Returns how many
-- rows it moved.
create or replace function jobforge.put_aside(
    p_queue text, p_lanes text[], p_tenants text[], p_types text[], p_limit integer, p_all boolean,
    p_lane text default null
) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_moved integer;
begin
    with visit as materialized (
        select t.tenant_id, l.lane, coalesce(h.priority, -32768)::smallint as priority,
               coalesce(h.job_id, '00000000-0000-0000-0000-000000000000') as job_id
          from unnest(p_tenants) t (tenant_id)
         cross join unnest(p_lanes) l (lane)
          left join lateral (select * from jobforge.heads h
                 where not p_all and h.queue = p_queue and h.lane = l.lane and h.tenant_id = t.tenant_id) h on true
    ), met as materialized (
        select m.* from visit t
         cross join lateral (
               select r.ctid, r.tenant_id, r.job_id, r.type from jobforge.ready r
                where r.queue = p_queue and r.lane = t.lane and r.tenant_id = t.tenant_id
                  and (r.priority, r.job_id) >= (t.priority, t.job_id)
                order by r.priority, r.job_id
                limit greatest(p_limit / cardinality(p_tenants), 10)) m
    ), strange as materialized (
        select m.ctid, coalesce(p_lane, m.type) as aside, null as ordering_key
          from met m where p_lane is not null or m.type <> all (p_types)
        union all
        select m.ctid, '!ordered', j.ordering_key from met m join jobforge.jobs j on j.id = m.job_id
         where p_lane is null and m.type = any (p_types) and j.ordering_key is not null
           and jobforge.waits_in_line(m.tenant_id, j.ordering_key, m.job_id)
    ), free as materialized (
        select r.ctid, s.aside, s.ordering_key from strange s join jobforge.ready r on r.ctid = s.ctid
           for update of r skip locked
    ), gone as (
        delete from jobforge.ready r using free f where r.ctid = f.ctid returning r.*, f.aside as into_lane, f.ordering_key
    ), moved as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes, g.into_lane from gone g
        returning 1
    ), turned as (
        insert into jobforge.turns (tenant_id, ordering_key)
        select distinct g.tenant_id, g.ordering_key from gone g where g.ordering_key is not null
    )
    select count(*) into v_moved from moved;
    return v_moved;
end
$$;

comment on function jobforge.put_aside is 'Take what a worker may not run out of the way of its claims.';
