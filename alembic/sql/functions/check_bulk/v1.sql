-- Refuses a bulk call that is no bounded batch, and one over all tenants by anybody but an administrator who says so in a
-- transaction of no tenant. Never because no tenant is set: so a forgotten context looks, and it writes nothing.
create or replace function jobforge.check_bulk(p_all_tenants boolean, p_limit integer) returns void
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_limit is null or p_limit not between 1 and 10000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000'
            using errcode = 'JF003', hint = 'Pass a number of these; of more, commit each batch, and go on from its cursor.';
    end if;
    perform jobforge.require_read_committed();
    if p_all_tenants is not true then
        return;
    end if;
    if not pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'jobforge_admin', 'usage') then
        raise exception 'jobforge: only jobforge_admin changes the jobs of all tenants' using errcode = '42501';
    end if;
    if jobforge.current_tenant() is not null then
        raise exception 'jobforge: all tenants are asked for in a transaction of one'
            using errcode = 'JF002', hint = 'Leave p_all_tenants out, or set no tenant.';
    end if;
end
$$;

comment on function jobforge.check_bulk is 'Raises for a bulk call that is not bounded, or not allowed.';
