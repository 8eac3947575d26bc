-- Claims that begin after this is committed pass the tenant over. What runs goes on; what is enqueued waits.
create or replace function jobforge.pause_tenant(p_tenant_id text) returns setof jobforge.tenants
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_tenant(p_tenant_id);
    return query
        insert into jobforge.tenants (tenant_id, paused_at) values (p_tenant_id, jobforge.now())
        on conflict (tenant_id) do update set paused_at = coalesce(tenants.paused_at, excluded.paused_at)
        returning *;
end
$$;

grant execute on function jobforge.pause_tenant(text) to jobforge_admin;
comment on function jobforge.pause_tenant(text) is 'Let claims pass a tenant over.';
