-- The lanes of a queue that a worker of these types walks as one: the main one, those of jobs whose turn has come, and of its
-- types those that have jobs aside. Where a queue has heads what was deleted before them is not passed here either, but when
-- a session looks in spite of them (p_look; NULL where there are no heads).
create or replace function jobforge.lanes_of(p_queue text, p_types text[], p_look boolean) returns text[]
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_turn   bigint := 1;
    v_heads  boolean := false;
    v_passed bigint := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                       - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass);
    v_lanes  text[] := '{!main}';
begin
    if p_look is not null then
        select s.last_value, not p_look and exists (select from jobforge.heads h where h.queue = p_queue)
          into v_turn, v_heads from jobforge.turn_lanes s;
    end if;
    -- one probe where nothing stands aside, and then one for each type
    if v_heads or v_turn > 1 or exists (select from jobforge.ready r where r.queue = p_queue and r.lane > '!suspect') then
        v_lanes := v_lanes || jobforge.turn_lanes(p_queue, p_look) || array(
            select distinct t.type from unnest(p_types) t (type)
             where case when v_heads then (select r.met from jobforge.ring_of(p_queue, array[t.type], '', false, 1) r) = 1
                        else exists (select from jobforge.ready r where r.queue = p_queue and r.lane = t.type) end);
    end if;
    v_passed := pg_stat_get_xact_tuples_returned('jobforge.ready_ring'::regclass)
                - pg_stat_get_xact_tuples_fetched('jobforge.ready_ring'::regclass) - v_passed;
    if v_passed > 100 and p_look is not true then
        perform nextval('jobforge.turn_lanes');
    end if;
    return v_lanes;
end
$$;

comment on function jobforge.lanes_of is 'The lanes of a queue that a worker of some types walks.';
