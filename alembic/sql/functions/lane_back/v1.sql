-- The lane for jobs that come back from elsewhere, older than those that wait: where there are heads they would stand before
-- them, and be found by the next full look only. NULL, the main one, where there are none.
create or replace function jobforge.lane_back() returns text
language sql stable
set search_path = pg_catalog, pg_temp
as $$ select jobforge.turn_lane() where exists (select from jobforge.heads) $$;

comment on function jobforge.lane_back() is 'The lane for jobs that come back from elsewhere.';
