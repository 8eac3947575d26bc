-- Claims that begin after this is committed pass the queue over. What runs goes on; what is enqueued waits.
create or replace function jobforge.pause_queue(p_queue text) returns setof jobforge.limits
language sql security definer
set search_path = pg_catalog, pg_temp
as $$ select * from jobforge.pause('queue', p_queue) $$;

grant execute on function jobforge.pause_queue(text) to jobforge_admin;
comment on function jobforge.pause_queue(text) is 'Let claims pass a queue over.';
