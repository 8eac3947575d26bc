-- Jobs of the task can be claimed again. Workers are woken. Nothing for a task of which nothing was said.
create or replace function jobforge.resume_task(p_type text) returns table (
    scope text, name text, paused_at timestamptz, max_running integer, rate double precision, burst integer, weight integer,
    max_waiting integer
)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.resume('task', p_type) l
$$;

grant execute on function jobforge.resume_task(text) to jobforge_admin;
comment on function jobforge.resume_task(text) is 'Let the jobs of a paused task be claimed again.';
