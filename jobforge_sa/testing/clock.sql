-- A clock that a test owns, for databases that are made for tests: `jobforge.now()`, the only source of time, reads a
-- setting of the test's own transaction. Nobody else sees it, and it ends with that transaction:
--   '@2027-01-01T00:00:00+00:00'   it stands still at that moment
--   '+3600'                        it goes on, so many seconds ahead (or behind, with a minus: '+-3600')
-- Whoever can run SQL can set it, so it has no place in production: `jobforge doctor` finds the change.
create or replace function jobforge.now() returns timestamptz
language sql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $$
    select case left(s.clock, 1)
           when '@' then substr(s.clock, 2)::timestamptz
           when '+' then clock_timestamp() + make_interval(secs => substr(s.clock, 2)::double precision)
           else clock_timestamp() end
      from (select current_setting('jobforge.clock', true)) s (clock)
$$;

-- Jobs run in the order of their ids, which is that of their moments. While the clock stands still all have one moment:
-- so the half of an id that is left to chance begins with the real time here, and first in is first out all the same.
create or replace function jobforge.new_job_id(p_at timestamptz) returns uuid
language plpgsql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_us   bigint := (extract(epoch from p_at) * 1000000)::bigint;
    v_real bigint := (extract(epoch from clock_timestamp()) * 1000000)::bigint;
begin
    return encode(
        int8send((v_us / 1000) << 16 | 28672 | ((v_us % 1000) * 4096 / 1000)) ||  -- 28672: the 7 of version 7
        int8send((2::bigint << 62) | ((v_real & ((1::bigint << 51) - 1)) << 11) | floor(random() * 2048)::bigint),
        'hex')::uuid;
end
$$;
