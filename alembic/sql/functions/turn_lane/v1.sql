-- The lane into which jobs come back now.
create or replace function jobforge.turn_lane() returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select '!turn' || lpad(s.last_value::text, 9, '0') from jobforge.turn_lanes s $$;

comment on function jobforge.turn_lane() is 'The lane into which jobs come back now.';
