-- A UUIDv7 for a moment: 48 bits of milliseconds, 12 bits of the microseconds within, 62 random bits. The order of
-- ids is the order of their moments down to 0.25 microseconds, so a bulk call that adds a microsecond for each
-- position keeps its order. Postgres 18 has uuidv7(), but its order within one call is its own affair.
create or replace function jobforge.new_job_id(p_at timestamptz) returns uuid
language plpgsql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_us bigint := (extract(epoch from p_at) * 1000000)::bigint;
begin
    return encode(overlay(uuid_send(gen_random_uuid())
        placing int8send((v_us / 1000) << 16 | 28672 | ((v_us % 1000) * 4096 / 1000))  -- 28672: the 7 of version 7
        from 1 for 8), 'hex')::uuid;
end
$$;

comment on function jobforge.new_job_id(timestamptz) is 'A UUIDv7 for a moment.';
