-- Tokens of this key are refused from p_at on. For jobforge_owner alone.
create or replace function jobforge.retire_tenant_key(p_key_id text, p_at timestamptz default null) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    perform from jobforge.settings for update;  -- of two who retire the last two keys one waits
    update jobforge.tenant_keys k set retired_at = least(k.retired_at, coalesce(p_at, jobforge.now())) where k.key_id = p_key_id;
    if not found then
        raise exception 'jobforge: there is no key %', p_key_id using errcode = 'JF003', hint = 'See: jobforge tenancy.';
    end if;
    if not exists (select from jobforge.settings s where s.tenancy = 'plain')
       and not exists (select from jobforge.tenant_keys k where k.retired_at is null) then
        raise exception 'jobforge: this is the last key, and tenancy is signed'
            using errcode = 'JF008', hint = 'Add the next key first, and give it to the application.';
    end if;
end
$$;

comment on function jobforge.retire_tenant_key is 'Refuse the tokens of a key. For jobforge_owner.';
