-- Takes what a worker may not run out of the way of its claims, among the first rows of some tenants (p_limit for all of
-- them): a type that is not among p_types into the lane of its name, where those who know it find it; a job that waits for
-- others of its line into "!ordered", with a turn (take_turns). With p_lane everything, into that one. Returns how many
-- rows it moved.
--   p_mark   it notes where what is left begins
--   p_names  with the next three, where a claim has found their first jobs by the heads; NULL: it looks from the beginning on
create or replace function jobforge.put_aside(
    p_queue text, p_lanes text[], p_tenants text[], p_types text[], p_limit integer,
    p_names text[], p_where text[], p_priorities smallint[], p_jobs uuid[], p_mark boolean,
    p_lane text default null
) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_moved integer;
    v_noted jsonb;
begin
    with visit as materialized (
        select t.tenant_id, l.lane, (-32768)::smallint as priority, '00000000-0000-0000-0000-000000000000'::uuid as job_id,
               32767::smallint as upto
          from unnest(p_tenants) t (tenant_id) cross join unnest(p_lanes) l (lane) where p_names is null
        union all
        select n.tenant_id, n.lane, n.priority, n.job_id, n.priority
          from unnest(p_names, p_where, p_priorities, p_jobs) n (tenant_id, lane, priority, job_id)
         where n.tenant_id = any (p_tenants)
    ), met as materialized (
        select m.*, t.lane from visit t
         cross join lateral (
               select r.ctid, r.tenant_id, r.priority, r.job_id, r.type from jobforge.ready r
                where r.queue = p_queue and r.lane = t.lane and r.tenant_id = t.tenant_id
                  and (r.priority, r.job_id) >= (t.priority, t.job_id) and r.priority <= t.upto
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
    select (select count(*) from moved), case when p_mark then (
           select jsonb_agg(n) from (
               select m.tenant_id, m.lane, m.priority, count(*) filter (where m.gone) as taken,
                      (array_agg(m.job_id order by m.job_id) filter (where not m.gone))[1] as kept,
                      (array_agg(m.job_id order by m.job_id desc) filter (where m.gone))[1] as last
                 from (select m.*, m.job_id in (select g.job_id from gone g) as gone from met m) m
                group by m.tenant_id, m.lane, m.priority) n) end
      into v_moved, v_noted;
    if p_mark then
        perform jobforge.mark_heads(p_queue, v_noted, 1);
    end if;
    return v_moved;
end
$$;

comment on function jobforge.put_aside is 'Take what a worker may not run out of the way of its claims.';
