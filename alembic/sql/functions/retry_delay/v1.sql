-- How long to wait after a failed attempt: 1, 2, 4 ... 3600 s unless the job's policy says otherwise. In floats with
-- the exponent cut: the 1,000th attempt waits as long as the 13th, instead of an overflow that no job survives;
-- and by way of numeric, because 1e-400 is a number that float8 refuses.
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
        v_seconds := round((v_delays ->> least(v_attempt, jsonb_array_length(v_delays)) - 1)::numeric, 6)::float8;
    else
        v_seconds := least(
            coalesce(round((p_retry ->> 'max')::numeric, 6)::float8, 3600),
            coalesce(round((p_retry ->> 'base')::numeric, 6)::float8, 1)
                * power(coalesce(round((p_retry ->> 'factor')::numeric, 6)::float8, 2), least(v_attempt - 1, 60)));
    end if;
    return make_interval(secs => v_seconds * (1 + coalesce(round((p_retry ->> 'jitter')::numeric, 6)::float8, 0) * random()));
end
$$;

comment on function jobforge.retry_delay(jsonb, integer) is 'The wait after a failed attempt.';
