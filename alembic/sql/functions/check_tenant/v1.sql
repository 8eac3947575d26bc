-- Refuses what cannot be a tenant.
create or replace function jobforge.check_tenant(p_tenant_id text) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_tenant_id is null or length(p_tenant_id) not between 1 and 200 then
        raise exception 'jobforge: a tenant has 1 to 200 characters, this one has %', coalesce(length(p_tenant_id), 0)
            using errcode = 'JF003', hint = 'Use a shorter identifier, such as the tenant''s key.';
    end if;
end
$$;

comment on function jobforge.check_tenant(text) is 'Raises JF003 for what cannot be a tenant.';
