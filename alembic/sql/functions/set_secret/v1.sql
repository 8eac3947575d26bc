-- Keeps a secret of a tenant's: sealed before it came here, or a reference that the operator's program resolves. With
-- p_overlap the one that it replaces stays valid for so long, by this clock; without, it is gone. p_hosts says where it may
-- go in a header: NULL leaves that as it is, for a secret that is rotated goes where it went.
create or replace function jobforge.set_secret(
    p_tenant_id text, p_name text, p_kind text, p_value text, p_hosts text[] default null, p_overlap interval default null
) returns table (
    tenant_id text, name text, kind text, hosts text[], previous_until timestamptz, updated_at timestamptz
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now   timestamptz := jobforge.now();
    v_until timestamptz;
begin
    perform jobforge.check_tenant(p_tenant_id);
    if p_name is null or length(p_name) > 100 or p_name !~ '^[A-Za-z0-9_][A-Za-z0-9_.:-]*$' then
        raise exception 'jobforge: % is no name for a secret', coalesce(quote_literal(left(p_name, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Use 1 to 100 of A-Z a-z 0-9 _ . : - and do not begin with . : -';
    end if;
    if p_kind is null or p_kind not in ('sealed', 'reference') then
        raise exception 'jobforge: a secret is sealed or a reference, not %', coalesce(quote_literal(left(p_kind, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Secrets are sealed before they come here: jobforge secrets set.';
    end if;
    if p_value is null or octet_length(p_value) not between 1 and 65536 then  -- it may be a secret: it is not shown
        raise exception 'jobforge: the value of a secret has 1 to 65536 bytes'
            using errcode = 'JF003', hint = 'Keep larger ones where a reference leads.';
    end if;
    if cardinality(p_hosts) > 100 or exists (select from unnest(p_hosts) h where coalesce(length(h), 0) not between 1 and 255) then
        raise exception 'jobforge: a secret may go to 100 hosts at most, of 1 to 255 characters each'
            using errcode = 'JF003', hint = 'Name hosts such as api.example.com, or *.example.com.';
    end if;
    if not jobforge.check_interval(p_overlap, interval '0', interval '365 days') then
        raise exception 'jobforge: p_overlap must be between 0 and 365 days'
            using errcode = 'JF003', hint = 'NULL: the one before is gone at once.';
    end if;
    v_until := v_now + nullif(p_overlap, interval '0');
    return query
        insert into jobforge.connector_secrets as s (tenant_id, name, kind, value, hosts, updated_at)
        values (p_tenant_id, p_name, p_kind, p_value, coalesce(p_hosts, '{}'), v_now)
        on conflict (tenant_id, name) do update
           set kind = excluded.kind, value = excluded.value, hosts = coalesce(p_hosts, s.hosts), updated_at = v_now,
               previous_kind = case when v_until is not null then s.kind end,
               previous_value = case when v_until is not null then s.value end,
               previous_until = v_until
        returning s.tenant_id, s.name, s.kind, s.hosts, s.previous_until, s.updated_at;
end
$$;

grant execute on function jobforge.set_secret to jobforge_admin;
comment on function jobforge.set_secret is 'Keep a secret of a tenant''s, sealed or as a reference.';
