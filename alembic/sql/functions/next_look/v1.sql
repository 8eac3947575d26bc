-- When a session looks from the beginning again, which began to do so then and has ended now: a second later at the earliest,
-- and never for more than a twentieth of its time.
create or replace function jobforge.next_look(p_began timestamptz) returns timestamptz
language sql volatile
set search_path = pg_catalog, pg_temp
as $$ select p_began + greatest(interval '1 second', 20 * (clock_timestamp() - p_began)) $$;

comment on function jobforge.next_look is 'When a session looks from the beginning again.';
