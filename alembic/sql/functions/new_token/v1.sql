-- A token for a tenant, signed with the newest key. For workers' handlers, who get one with each claimed job, and for
-- administrators: neither needs to know a key.
create or replace function jobforge.new_token(p_tenant_id text, p_expires timestamptz) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
declare
    v_key     jobforge.tenant_keys;
    v_expires text := ceil(extract(epoch from p_expires))::bigint;
begin
    select * into v_key from jobforge.tenant_keys k where k.retired_at is null order by k.created_at desc, k.key_id limit 1;
    return v_key.key_id || '.' || v_expires || '.'
        || jobforge.token_mac(v_key, v_key.key_id || '.' || v_expires || '.' || p_tenant_id) || '.' || p_tenant_id;
end
$$;

comment on function jobforge.new_token is 'A token for a tenant, signed with the newest key.';
