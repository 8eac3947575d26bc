-- At most so many jobs of the tenant may be scheduled or queued; NULL: as many as it likes. What waits already stays.
create or replace function jobforge.limit_tenant(p_tenant_id text, p_max_waiting integer) returns setof jobforge.tenants
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_tenant(p_tenant_id);
    if p_max_waiting not between 0 and 10000000 then
        raise exception 'jobforge: p_max_waiting must be between 0 and 10000000'
            using errcode = 'JF003', hint = 'Pass NULL for no quota.';
    end if;
    return query
        insert into jobforge.tenants (tenant_id, max_waiting) values (p_tenant_id, p_max_waiting)
        on conflict (tenant_id) do update set max_waiting = excluded.max_waiting
        returning *;
    delete from jobforge.tenants t where t.tenant_id = p_tenant_id and t.paused_at is null and t.max_waiting is null;
end
$$;

grant execute on function jobforge.limit_tenant(text, integer) to jobforge_admin;
comment on function jobforge.limit_tenant(text, integer) is 'Give a tenant a quota of waiting jobs, or none.';
