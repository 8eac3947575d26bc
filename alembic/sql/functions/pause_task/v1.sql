-- Claims that begin after this is committed pass the task over. What runs goes on; what is enqueued waits.
create or replace function jobforge.pause_task(p_type text) returns setof jobforge.limits
language sql security definer
set search_path = pg_catalog, pg_temp
as $$ select * from jobforge.pause('task', p_type) $$;

grant execute on function jobforge.pause_task(text) to jobforge_admin;
comment on function jobforge.pause_task(text) is 'Let claims pass a task over.';
