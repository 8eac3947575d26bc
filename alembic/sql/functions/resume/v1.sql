-- Jobs of a tenant, a queue or a task can be claimed again. Workers are woken.
create or replace function jobforge.resume(p_scope text, p_name text) returns setof jobforge.limits
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_scope(p_scope, p_name);
    return query
        update jobforge.limits l set paused_at = null where l.scope = p_scope and l.name = p_name returning l.*;
    perform jobforge.forget_limit(p_scope, p_name);
    perform jobforge.bring_back(p_name, 10000) where p_scope = 'tenant';  -- upkeep brings the others
    perform jobforge.wake_all();
end
$$;

comment on function jobforge.resume is 'Let jobs of a tenant, a queue or a task be claimed again.';
