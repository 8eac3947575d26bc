-- What was said of tenants, queues and tasks, with how many of their jobs run now and how many runs a rate lets begin.
create or replace function jobforge.list_limits(p_scope text default null) returns table (
    scope text, name text, paused_at timestamptz, max_running integer, rate double precision, burst integer, weight integer,
    max_waiting integer, running integer, bucket double precision
)
language plpgsql stable security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
    if p_scope not in ('tenant', 'queue', 'task') then
        raise exception 'jobforge: there is no scope %', quote_literal(left(p_scope, 50))
            using errcode = 'JF003', hint = 'Scopes: tenant, queue, task; NULL for all.';
    end if;
    return query
        select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting,
               jobforge.running_of(l), case when l.rate is not null then jobforge.tokens_of(l) end
          from jobforge.limits l where p_scope is null or l.scope = p_scope order by l.scope, l.name;
end
$$;

grant execute on function jobforge.list_limits(text) to jobforge_admin;
comment on function jobforge.list_limits(text) is 'What was said of tenants, queues and tasks.';
