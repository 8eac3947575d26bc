-- The tenant that a token names: <key id>.<expires, seconds since 1970>.<HMAC of the rest, in hex>.<tenant>. NULL for
-- NULL. It must not have expired when the transaction began, so that a long import does not lose its tenant halfway.
-- The signatures are compared by their hashes: how long that takes tells nothing about how much of a guess was right.
create or replace function jobforge.token_tenant(p_token text) returns text
language plpgsql stable parallel safe
set search_path = pg_catalog, pg_temp
as $$
declare
    v_key_id  text := split_part(p_token, '.', 1);
    v_expires text := split_part(p_token, '.', 2);
    v_mac     text := split_part(p_token, '.', 3);
    v_tenant  text := substr(p_token, length(v_key_id) + length(v_expires) + length(v_mac) + 4);
    v_key     jobforge.tenant_keys;
begin
    if p_token is null then
        return null;
    end if;
    select * into v_key from jobforge.tenant_keys k
     where k.key_id = v_key_id and (k.retired_at is null or k.retired_at > now());
    if not found or v_tenant = '' or v_expires ~ '[^0-9]' or length(v_expires) not between 1 and 11
       or sha256(convert_to(v_mac, 'UTF8'))
          <> sha256(convert_to(jobforge.token_mac(v_key, v_key_id || '.' || v_expires || '.' || v_tenant), 'UTF8'))
    then
        raise exception 'jobforge: the tenant token is not valid'
            using errcode = 'JF006', hint = 'Sign it with a key that this database knows: jobforge tenancy.';
    end if;
    if to_timestamp(v_expires::bigint) <= now() then
        raise exception 'jobforge: the tenant token had expired when this transaction began'
            using errcode = 'JF006', hint = 'Sign a new one for each transaction.';
    end if;
    return v_tenant;
end
$$;

comment on function jobforge.token_tenant(text) is 'The tenant that a token names; raises JF006 for a bad one.';
