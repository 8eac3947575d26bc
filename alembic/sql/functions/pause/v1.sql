-- Claims that begin after this is committed give nothing of a tenant, a queue or a task. What runs goes on; what is enqueued
-- waits.
create or replace function jobforge.pause(p_scope text, p_name text) returns setof jobforge.limits
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_scope(p_scope, p_name);
    return query
        insert into jobforge.limits (scope, name, paused_at, refilled_at) values (p_scope, p_name, jobforge.now(), jobforge.now())
        on conflict (scope, name) do update set paused_at = coalesce(limits.paused_at, excluded.paused_at)
        returning *;
end
$$;

comment on function jobforge.pause is 'Let claims give nothing of a tenant, a queue or a task.';
