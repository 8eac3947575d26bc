-- Jobs of the queue can be claimed again. Workers are woken. Nothing for a queue of which nothing was said.
create or replace function jobforge.resume_queue(p_queue text) returns setof jobforge.limits
language sql security definer
set search_path = pg_catalog, pg_temp
as $$ select * from jobforge.resume('queue', p_queue) $$;

grant execute on function jobforge.resume_queue(text) to jobforge_admin;
comment on function jobforge.resume_queue(text) is 'Let the jobs of a paused queue be claimed again.';
