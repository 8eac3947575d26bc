-- Jobs of the task can be claimed again. Workers are woken. Nothing for a task of which nothing was said.
create or replace function jobforge.resume_task(p_type text) returns setof jobforge.limits
language sql security definer
set search_path = pg_catalog, pg_temp
as $$ select * from jobforge.resume('task', p_type) $$;

grant execute on function jobforge.resume_task(text) to jobforge_admin;
comment on function jobforge.resume_task(text) is 'Let the jobs of a paused task be claimed again.';
