-- Looks at lines that have a turn: a job that is at their head now, and stands aside, comes back to where claims find it. No
-- job is forgotten, for whoever puts one aside leaves a turn in the same transaction: a look that sees the turn sees the
-- job aside; and whoever ends a run leaves a turn, so that of the two the later look finds the head where it stands.
-- A head whose row somebody holds keeps its turn for the next look; that begins at one by chance, so that a thousand
-- which one transaction holds do not stand before all others. Returns how many came back.
--   p_first  no turn before this one is looked at
create or replace function jobforge.take_turns(p_limit integer, p_first bigint) returns integer
language plpgsql
set search_path = pg_catalog, pg_temp
set enable_seqscan = off  -- lines and ready are met by key
set enable_hashjoin = off
set enable_mergejoin = off
set enable_material = off
set jit = off
as $$
declare
    v_from  bigint := p_first + floor(random() * (1 + (select s.last_value from jobforge.turns_id_seq s) - p_first));
    v_lane  text := jobforge.turn_lane();
    v_moved integer;
begin
    with later as materialized (
        select t.ctid, t.tenant_id, t.ordering_key from jobforge.turns t where t.id >= v_from
         order by t.id limit p_limit for update skip locked
    ), sooner as materialized (
        select t.ctid, t.tenant_id, t.ordering_key from jobforge.turns t where t.id >= p_first and t.id < v_from
         order by t.id
         limit p_limit - (select count(*) from later) for update skip locked
    ), turn as materialized (
        select * from later union all select * from sooner
    ), head as materialized (
        select k.tenant_id, k.ordering_key, h.job_id
          from (select distinct turn.tenant_id, turn.ordering_key from turn) k
         cross join lateral (select l.job_id from jobforge.lines l
                              where l.tenant_id = k.tenant_id and l.ordering_key = k.ordering_key
                                and exists (select from jobforge.jobs j where j.id = l.job_id)
                              order by l.job_id limit 1) h
    ), waiting as materialized (
        select h.tenant_id, h.ordering_key, h.job_id
          from head h cross join lateral (  -- by its key: a join began with all that was deleted
               select from jobforge.ready r
                where r.tenant_id = h.tenant_id and r.job_id = h.job_id and r.lane = '!ordered' limit 1) r
         where not jobforge.waits_in_line(h.tenant_id, h.ordering_key, h.job_id)
    ), free as materialized (
        select r.ctid, r.job_id from waiting w cross join lateral (
               select r.ctid, r.job_id from jobforge.ready r where r.tenant_id = w.tenant_id and r.job_id = w.job_id
                  for update skip locked) r
    ), gone as (
        delete from jobforge.ready r where r.ctid = any (array(select f.ctid from free f)) returning r.*
    ), moved as (
        insert into jobforge.ready (queue, tenant_id, priority, job_id, type, run, attempt, crashes, aside)
        select g.queue, g.tenant_id, g.priority, g.job_id, g.type, g.run, g.attempt, g.crashes,
               case when g.crashes < 2 then v_lane end  -- which has no heads, or it might wait for a full look
          from gone g
        returning queue
    ), seen as (
        delete from jobforge.turns t where t.ctid = any (array(
            select turn.ctid from turn
             where not exists (select from waiting w
                                where w.tenant_id = turn.tenant_id and w.ordering_key = turn.ordering_key
                                  and w.job_id <> all (array(select f.job_id from free f)))))
    ), woken as (
        select count(jobforge.wake(q.queue)) from (select distinct m.queue from moved m) q
    )
    select count(*) into v_moved from moved cross join woken;
    return v_moved;
end
$$;

comment on function jobforge.take_turns(integer, bigint) is 'Jobs that have become the heads of their lines can be claimed.';
