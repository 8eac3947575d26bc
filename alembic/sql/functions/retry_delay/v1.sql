-- How long to wait after a failed attempt: 1, 2, 4 ... 3600 s unless the job's policy says otherwise. In floats with
-- the exponent cut: the 1,000th attempt waits as long as the 13th, instead of an overflow that no job survives.
create or replace function jobforge.retry_delay(p_retry jsonb, p_attempt integer) returns interval
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_attempt integer := greatest(p_attempt, 1);
    v_delays  jsonb := p_retry -> 'delays';
    v_seconds float8;
begin
    if v_delays is not null then  -- the last of the list holds for all later attempts
        v_seconds := (v_delays ->> least(v_attempt, jsonb_array_length(v_delays)) - 1)::float8;
    else
        v_seconds := least(
            coalesce((p_retry ->> 'max')::float8, 3600),
            coalesce((p_retry ->> 'base')::float8, 1)
                * power(coalesce((p_retry ->> 'factor')::float8, 2), least(v_attempt - 1, 60)));
    end if;
    return make_interval(secs => v_seconds * (1 + coalesce((p_retry ->> 'jitter')::float8, 0) * random()));
end
$$;

comment on function jobforge.retry_delay(jsonb, integer) is 'The wait after a failed attempt.';
