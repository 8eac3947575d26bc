-- The only clock: a wrong clock on a client or a worker changes nothing. Not now() of Postgres, which stands still
-- within a transaction: a long import would stamp all its jobs with the time at which it began.
create or replace function jobforge.now() returns timestamptz
language plpgsql volatile parallel safe
set search_path = pg_catalog, pg_temp
as $$
begin
    return clock_timestamp();  -- in language sql, which a pinned search_path keeps from being inlined, it costs twice as much
end
$$;

grant execute on function jobforge.now() to jobforge_app, jobforge_worker, jobforge_admin;
comment on function jobforge.now() is 'The time by which everything here is decided.';
