-- Claims that begin after this is committed pass the tenant over. What runs goes on; what is enqueued waits.
create or replace function jobforge.pause_tenant(p_tenant_id text) returns table (
    scope text, name text, paused_at timestamptz, max_running integer, rate double precision, burst integer, weight integer,
    max_waiting integer
)
language sql security definer
set search_path = pg_catalog, pg_temp
as $$
    select l.scope, l.name, l.paused_at, l.max_running, l.rate, l.burst, l.weight, l.max_waiting
      from jobforge.pause('tenant', p_tenant_id) l
$$;

grant execute on function jobforge.pause_tenant(text) to jobforge_admin;
comment on function jobforge.pause_tenant(text) is 'Let claims pass a tenant over.';
