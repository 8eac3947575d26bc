-- Notes where the jobs of tenants begin, behind what a claim has taken and before what it has left (claim_ring). The newest
-- note counts; whoever makes one takes the one before away, and waits for nobody. A note costs as much as to pass ten deleted
-- jobs: of whom less than four were taken it is made by chance (p_chance or more), so that no claim pays for all of its tenants.
create or replace function jobforge.mark_heads(p_queue text, p_noted jsonb, p_chance float8) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now  timestamptz := clock_timestamp();
    v_turn text := jobforge.turn_lane();  -- into which jobs come back in any order
begin
    with head as materialized (
        select n.lane, n.tenant_id, n.priority, coalesce(n.kept,
               overlay(n.last::text placing lpad(to_hex((('x' || right(n.last::text, 12))::bit(48)::bigint + 1) & 281474976710655),
                                                 12, '0') from 25)::uuid) as job_id  -- the next one that there can be
          from jsonb_to_recordset(p_noted) n (lane text, tenant_id text, priority smallint, taken integer, kept uuid, last uuid)
         where n.taken > 0 and n.lane <> v_turn and (n.taken > 4 * random() or random() < p_chance)
    ), gone as (
        delete from jobforge.heads d where d.ctid = any (array(
            select o.ctid from head h cross join lateral (
                   select o.ctid from jobforge.heads o
                    where o.queue = p_queue and o.lane = h.lane and o.tenant_id = h.tenant_id and o.priority = h.priority
                    order by o.marked_at desc limit 1 for update skip locked) o))
    )
    insert into jobforge.heads (queue, lane, tenant_id, priority, job_id, marked_at)
    select p_queue, h.lane, h.tenant_id, h.priority, h.job_id, v_now from head h;
end
$$;

comment on function jobforge.mark_heads is 'Note where the jobs of tenants begin.';
