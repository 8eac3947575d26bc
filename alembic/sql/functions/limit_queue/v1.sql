-- Changes the limits of the queue: those that p_change has, such as {"max_running": 5, "rate": null}. NULL takes one away.
create or replace function jobforge.limit_queue(p_queue text, p_change jsonb) returns setof jobforge.limits
language sql security definer
set search_path = pg_catalog, pg_temp
as $$ select * from jobforge.set_limit('queue', p_queue, p_change) $$;

grant execute on function jobforge.limit_queue(text, jsonb) to jobforge_admin;
comment on function jobforge.limit_queue(text, jsonb) is 'Change the limits of a queue.';
