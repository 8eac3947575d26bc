-- What every claim does first: jobs that are due become claimable, up to 10,000 of them, for those of other queues may stand
-- before ours; and so do jobs that have come to the head of their lines.
-- Behind a held snapshot turns that were taken stay. A session that has passed many begins behind those that were there 0.2
-- seconds ago, and from the beginning once a second, or less often (next_look): what was committed later than that.
create or replace function jobforge.make_ready() returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now    float8 := extract(epoch from clock_timestamp());
    v_noted  float8[] := string_to_array(nullif(current_setting('jobforge.turns', true), ''), ' ');
    v_look   boolean := coalesce(v_now >= v_noted[4], true);
    v_passed bigint;
    v_first  bigint;
    v_last   bigint;
begin
    for i in 1 .. 10 loop
        exit when jobforge.promote_due(1000) < 1000;
    end loop;
    v_passed := pg_stat_get_xact_tuples_returned('jobforge.turns_pkey'::regclass);
    v_first := (select t.id from jobforge.turns t where t.id > case when v_look then 0 else v_noted[1]::bigint end order by t.id limit 1);
    if v_first is not null then
        perform jobforge.take_turns(1000, v_first);
    end if;
    v_passed := pg_stat_get_xact_tuples_returned('jobforge.turns_pkey'::regclass) - v_passed;
    if v_noted is null and v_passed > 5000 or v_noted is not null and (v_look or v_now > v_noted[3] + 0.2) then
        v_last := (select s.last_value from jobforge.turns_id_seq s);
        v_noted := array[case when v_now > v_noted[3] + 0.2 then v_noted[2] else coalesce(v_noted[1], 0) end,  -- behind this one
                         case when v_now > v_noted[3] + 0.2 then v_last else coalesce(v_noted[2], v_last) end,  -- and then behind this
                         case when v_now > v_noted[3] + 0.2 then v_now else coalesce(v_noted[3], v_now) end,
                         case when v_look then extract(epoch from jobforge.next_look(to_timestamp(v_now))) else v_noted[4] end];
        perform set_config('jobforge.turns', case when v_look and v_passed < 2000 then '' else array_to_string(v_noted, ' ') end, false);
    end if;
end
$$;

comment on function jobforge.make_ready() is 'Jobs that are due, or at the head of their line now, become claimable.';
