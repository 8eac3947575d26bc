-- Switches the whole schema to plain or signed tenancy, for transactions that begin from now on. For jobforge_owner
-- alone. Signed needs a key, or nobody could name a tenant any more.
create or replace function jobforge.use_tenancy(p_tenancy text) returns void
language plpgsql
set search_path = pg_catalog, pg_temp
as $$
begin
    if p_tenancy is null or p_tenancy not in ('plain', 'signed') then
        raise exception 'jobforge: tenancy is plain or signed' using errcode = 'JF003', hint = 'Pass one of the two.';
    end if;
    insert into jobforge.settings (tenancy) values (p_tenancy)
    on conflict (only_row) do update set tenancy = excluded.tenancy;  -- also the lock that retire_tenant_key waits for
    if p_tenancy = 'signed' and not exists (select from jobforge.tenant_keys k where k.retired_at is null) then
        raise exception 'jobforge: signed tenancy needs a key'
            using errcode = 'JF008', hint = 'Add one, and give it to the application: jobforge tenancy add-key.';
    end if;
end
$$;

comment on function jobforge.use_tenancy(text) is 'Switch to plain or signed tenancy. For jobforge_owner.';
