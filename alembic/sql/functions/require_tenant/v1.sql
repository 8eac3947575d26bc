-- The tenant that a write is for. An argument may repeat the context, never replace it.
create or replace function jobforge.require_tenant(p_tenant_id text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_tenant text := jobforge.current_tenant();
begin
    if v_tenant is null then
        raise exception 'jobforge: this transaction has no tenant'
            using errcode = 'JF001',
                  hint = case when exists (select from jobforge.settings s where s.tenancy = 'plain')
                      then 'Set one in this transaction: select set_config(''jobforge.tenant_id'', ''<tenant>'', true);'
                      else 'Tenancy is signed. Set a token in this transaction: '
                           'select set_config(''jobforge.tenant_token'', ''<token>'', true);' end;
    end if;
    if p_tenant_id <> v_tenant then
        raise exception 'jobforge: the tenant of the call is not the tenant of this transaction'
            using errcode = 'JF002', hint = 'Leave p_tenant_id out, or set the transaction''s tenant to it.';
    end if;
    if length(v_tenant) > 200 then
        perform jobforge.check_tenant(v_tenant);
    end if;
    return v_tenant;
end
$$;

comment on function jobforge.require_tenant(text) is 'The tenant of this transaction; raises where there is none.';
