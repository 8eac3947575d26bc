-- Refuses what no worker could run or no reader could read, before it is stored; raises with the cure, and with the
-- position in a bulk call. Limits live here and not in CHECKs: a CHECK over the payload would cost 10 microseconds
-- on every later write. Returns true, so that a query can call it for each row.
create or replace function jobforge.check_job(
    p_position integer, p_type text, p_payload json, p_queue text, p_priority integer, p_run_at timestamptz,
    p_delay interval, p_idempotency_key text, p_max_attempts integer, p_retry jsonb, p_timeout interval, p_trace json,
    p_subject text, p_unique_key text default null, p_on_duplicate text default null,
    p_ordering_key text default null
) returns boolean
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
declare
    c_name constant text := '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$';  -- with {0,99} the engine takes 6 microseconds more
    v_fault text := case
        when p_type is null or p_type !~ c_name or length(p_type) > 100
            then 'type must be 1 to 100 of A-Z a-z 0-9 _ . : - and not begin with . : -'
        when p_queue !~ c_name or length(p_queue) > 100
            then 'queue must be 1 to 100 of A-Z a-z 0-9 _ . : - and not begin with . : -'
        when p_priority not between -100 and 100 then 'priority must be between -100 (first) and 100 (last)'
        when p_max_attempts not between 1 and 1000 then 'max_attempts must be between 1 and 1000'
        when p_run_at is not null and p_delay is not null then 'give run_at or delay, not both'
        when p_run_at not between '1970-01-01 00:00+00' and '3000-01-01 00:00+00'
            then 'run_at must lie between the years 1970 and 3000'
        when not jobforge.check_interval(p_delay, interval '0', interval '10 years') then 'delay must be between 0 and 10 years'
        when not jobforge.check_interval(p_timeout, interval '1 millisecond', interval '30 days')
            then 'timeout must be between 1 millisecond and 30 days'
        when length(p_idempotency_key) not between 1 and 200 then 'idempotency_key must have 1 to 200 characters'
        when length(p_unique_key) not between 1 and 200 then 'unique_key must have 1 to 200 characters'
        when p_unique_key is not null and p_idempotency_key is not null
            then 'give idempotency_key or unique_key, not both'
        when p_on_duplicate is not null and p_unique_key is null then 'on_duplicate needs a unique_key'
        when p_on_duplicate not in ('keep', 'replace', 'merge') then 'on_duplicate must be keep, replace or merge'
        when length(p_ordering_key) not between 1 and 200 then 'ordering_key must have 1 to 200 characters'
        when length(p_subject) not between 1 and 300 then 'subject must have 1 to 300 characters'
        when p_retry is not null and not jobforge.check_retry(p_retry)
            then 'retry must be {"base", "factor", "max", "jitter"} or {"delays": [...]}, in seconds, up to 30 days'
        when p_trace is not null and (json_typeof(p_trace) <> 'object' or octet_length(p_trace::text) > 4096)
            then 'trace must be a JSON object of at most 4 kB'
    end;
    v_payload_fault text := case
        when p_payload is null or json_typeof(p_payload) <> 'object' then 'the payload must be a JSON object'
        when octet_length(p_payload::text) > 262144
            then 'the payload has ' || octet_length(p_payload::text) || ' bytes, 262144 are allowed'
    end;
begin
    if v_fault is not null or v_payload_fault is not null then
        raise exception 'jobforge: %', coalesce(v_fault, v_payload_fault)
            || coalesce(' (job at position ' || p_position || ')', '')
            using errcode = case when v_fault is not null then 'JF003' else 'JF004' end,
                  hint = case when v_fault is not null then 'Change that argument; nothing was enqueued.'
                              else 'Store large or free data in a table of yours and enqueue its key; nothing was enqueued.' end;
    end if;
    -- what jsonb cannot hold nobody could query: NUL, half a surrogate pair, numbers beyond numeric
    perform p_payload::jsonb, p_trace::jsonb;
    return true;
end
$$;

comment on function jobforge.check_job is 'Raises JF003 or JF004 for a job that must not be stored.';
