-- Makes a key known that signs tenant tokens: at least 32 random bytes, which the application keeps in its
-- configuration. The newest one signs what the database itself gives out; all that are not retired are accepted.
-- For jobforge_owner alone: whoever has a key can name any tenant.
create or replace function jobforge.add_tenant_key(p_key_id text, p_secret bytea) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
declare
    v_secret bytea := case when length(p_secret) > 64 then sha256(p_secret) else p_secret end;
    v_inner  bytea := decode(repeat('36', 64), 'hex');
    v_outer  bytea := decode(repeat('5c', 64), 'hex');
begin
    if p_key_id is null or p_key_id !~ '^[A-Za-z0-9_-]+$' or length(p_key_id) > 40 then
        raise exception 'jobforge: a key id is 1 to 40 of A-Z a-z 0-9 _ -'
            using errcode = 'JF003', hint = 'Name it after the day on which it was made.';
    end if;
    if p_secret is null or length(p_secret) < 32 then
        raise exception 'jobforge: a key has at least 32 bytes' using errcode = 'JF003', hint = 'Use 32 random bytes.';
    end if;
    for i in 0 .. length(v_secret) - 1 loop
        v_inner := set_byte(v_inner, i, get_byte(v_secret, i) # 54);
        v_outer := set_byte(v_outer, i, get_byte(v_secret, i) # 92);
    end loop;
    insert into jobforge.tenant_keys (key_id, inner_pad, outer_pad, created_at)
    values (p_key_id, v_inner, v_outer, jobforge.now());
exception when unique_violation then
    raise exception 'jobforge: there is a key % already', p_key_id
        using errcode = 'JF003', hint = 'Give the new key another id; an id stays with its key for ever.';
end
$$;

comment on function jobforge.add_tenant_key is 'Make a key known that signs tenant tokens. For jobforge_owner.';
