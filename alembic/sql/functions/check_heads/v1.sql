-- Heads of a queue's lanes go back to jobs that stand before them, in the course of a full look. Of two sessions that
-- do so at a time both note the same, and nobody waits.
create or replace function jobforge.check_heads(p_queue text, p_lanes text[]) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now timestamptz := clock_timestamp();
begin
    with recursive head as (
        select h.* from unnest(p_lanes) l (lane) cross join lateral (
               select h.lane, h.tenant_id, h.priority, h.job_id, h.ctid as place from jobforge.heads h
                where h.queue = p_queue and h.lane = l.lane order by h.tenant_id, h.priority, h.marked_at desc limit 1) h
        union all
        select h.* from head b cross join lateral (
               select h.lane, h.tenant_id, h.priority, h.job_id, h.ctid as place from jobforge.heads h
                where h.queue = p_queue and h.lane = b.lane and (h.tenant_id, h.priority) > (b.tenant_id, b.priority)
                order by h.tenant_id, h.priority, h.marked_at desc limit 1) h
    ), before as materialized (
        select h.lane, h.tenant_id, h.priority, h.place, r.job_id
          from head h cross join lateral (
               select r.job_id from jobforge.ready r
                where r.queue = p_queue and r.lane = h.lane and r.tenant_id = h.tenant_id and r.priority = h.priority
                  and r.job_id < h.job_id order by r.job_id limit 1) r
    ), gone as (
        delete from jobforge.heads d where d.ctid = any (array(
            select h.ctid from before b cross join lateral (
                   select h.ctid from jobforge.heads h where h.ctid = b.place for update skip locked) h))
    )
    insert into jobforge.heads (queue, lane, tenant_id, priority, job_id, marked_at)
    select p_queue, b.lane, b.tenant_id, b.priority, b.job_id, v_now from before b;
end
$$;

comment on function jobforge.check_heads is 'Heads go back to jobs that stand before them.';
