-- The tenant of this transaction, or NULL: no rows then, and every write raises. Where tenancy is plain it is the
-- setting jobforge.tenant_id (set_config(..., true)), or Supabase's JWT claim app_metadata.tenant_id (never
-- user_metadata, which users may write). Where it is signed only a token in jobforge.tenant_token counts, for whoever
-- can run SQL can set the others. An empty setting is none: that is what a finished set_config(..., true) leaves behind.
create or replace function jobforge.current_tenant() returns text
language plpgsql stable parallel safe security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_setting text := nullif(current_setting('jobforge.tenant_id', true), '');
    v_claims  text := nullif(current_setting('request.jwt.claims', true), '');
    v_claim   jsonb;
    v_tenant  text;
begin
    if not exists (select from jobforge.settings s where s.tenancy = 'plain') then
        v_tenant := jobforge.token_tenant(nullif(current_setting('jobforge.tenant_token', true), ''));
        if v_setting <> v_tenant then
            raise exception 'jobforge: the setting jobforge.tenant_id and the tenant token name different tenants'
                using errcode = 'JF002', hint = 'Set the token alone, or both for the same tenant.';
        end if;
        return v_tenant;
    end if;
    if v_claims is null then
        return v_setting;
    end if;
    v_claim := v_claims::jsonb #> '{app_metadata,tenant_id}';
    if jsonb_typeof(v_claim) not in ('string', 'number', 'null') then
        raise exception 'jobforge: the claim app_metadata.tenant_id is not a string or a number'
            using errcode = 'JF002', hint = 'Put one tenant id into app_metadata.tenant_id.';
    end if;
    if v_setting <> v_claim #>> '{}' then
        raise exception 'jobforge: the setting jobforge.tenant_id and the JWT claim name different tenants'
            using errcode = 'JF002', hint = 'Set one of them only, or both to the same tenant.';
    end if;
    return coalesce(nullif(v_claim #>> '{}', ''), v_setting);
end
$$;

grant execute on function jobforge.current_tenant() to jobforge_app, jobforge_worker, jobforge_admin;
comment on function jobforge.current_tenant() is 'The tenant of this transaction, or NULL.';
