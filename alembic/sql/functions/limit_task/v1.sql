-- Changes the limits of the task: those that p_change has, such as {"max_running": 5, "rate": null}. NULL takes one away.
create or replace function jobforge.limit_task(p_type text, p_change jsonb) returns table (
    scope text, name text, paused_at timestamptz, max_running integer, rate double precision, burst integer, weight integer,
    max_waiting integer
)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.set_limit('task', p_type, p_change) l
$$;

grant execute on function jobforge.limit_task(text, jsonb) to jobforge_admin;
comment on function jobforge.limit_task(text, jsonb) is 'Change the limits of a task.';
