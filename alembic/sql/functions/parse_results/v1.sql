-- The items of complete_jobs, judged so that one bad item cannot raise and harm the others. fault is NULL for a good one.
-- They are read all at once, uuids by Postgres itself: to ask each text first whether it is one cost more than all the
-- rest. Only where that raises each is looked at alone, and what has a fault is read as an empty object.
create or replace function jobforge.parse_results(p_results json) returns table (
    item integer, job_id uuid, token uuid, outcome text, result json, error json, delay interval, run_ms integer,
    final boolean, fault text
)
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    c_number constant text := '^[0-9]{1,9}([.][0-9]{1,9})?$';
    v_items  json := p_results;
    v_faults text[];
    -- json passes an escape on that jsonb will not take; chr(92), because a literal backslash would be read by the caller's
    -- standard_conforming_strings
    v_alone  boolean := strpos(p_results::text, chr(92) || 'u') > 0;
begin
    loop
        if v_alone then
            select json_agg(case when f.fault is null then f.body else '{}' end order by f.item), array_agg(f.fault order by f.item)
              into v_items, v_faults
              from (select e.body, e.item, jobforge.result_fault(e.body) as fault
                      from json_array_elements(p_results) with ordinality as e (body, item)) f;
        end if;
        begin
            return query  -- json_to_recordset has read all of them before the first is judged, and judging never raises
                select j.item::integer, j.job_id, case when j.fault is null then j.lease_token end, j.outcome, j.result, j.error,
                       case when j.fault is null then j.delay::float8 * interval '1 second' end,
                       j.run_ms, coalesce(j.final = 'true', false), j.fault
                  from (select e.*,
                               case when v_faults[e.item] is not null then v_faults[e.item]
                                    when e.job_id is null then 'job_id is not a uuid'
                                    when e.lease_token is null then 'lease_token is not a uuid'
                                    when e.outcome is null then 'unknown outcome'
                                    when e.outcome not in
                                         ('succeeded', 'failed', 'timed_out', 'snoozed', 'released', 'canceled') then 'unknown outcome'
                                    when e.delay !~ c_number
                                         then 'delay is not a number of seconds between 0 and 999999999'
                                    when e.run_ms not between 0 and 999999999
                                         then 'run_ms is not a number of milliseconds between 0 and 999999999'
                                    when octet_length(e.result::text) > 262144 then 'the result has more than 262144 bytes'
                                    when octet_length(e.error::text) > 65536 then 'the error has more than 65536 bytes'
                               end as fault
                          from rows from (json_to_recordset(v_items) as (
                                   job_id uuid, lease_token uuid, outcome text, result json, error json, delay text,
                                   run_ms integer, final text)) with ordinality
                               as e (job_id, lease_token, outcome, result, error, delay, run_ms, final, item)
                        offset 0) j;  -- or each use of the fault would be one more evaluation of it
            return;
        exception when data_exception then
            if v_alone then
                raise;
            end if;
            v_alone := true;
        end;
    end loop;
end
$$;

comment on function jobforge.parse_results(json) is 'The items of complete_jobs, with the fault of each bad one.';
