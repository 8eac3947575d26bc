-- HMAC-SHA256 (RFC 2104) out of the one hash that Postgres has built in: no extension is needed.
create or replace function jobforge.token_mac(p_key jobforge.tenant_keys, p_signed text) returns text
language plpgsql immutable
set search_path = pg_catalog, pg_temp
as $$
begin
    return encode(sha256(p_key.outer_pad || sha256(p_key.inner_pad || convert_to(p_signed, 'UTF8'))), 'hex');
end
$$;

comment on function jobforge.token_mac is 'The signature of a tenant token, in hex.';
