-- Jobs of the tenant can be claimed again. Workers are woken. Nothing for a tenant of which nothing was said.
create or replace function jobforge.resume_tenant(p_tenant_id text) returns table (
    scope text, name text, paused_at timestamptz, max_running integer, rate double precision, burst integer, weight integer,
    max_waiting integer
)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.resume('tenant', p_tenant_id) l
$$;

grant execute on function jobforge.resume_tenant(text) to jobforge_admin;
comment on function jobforge.resume_tenant(text) is 'Let the jobs of a paused tenant be claimed again.';
