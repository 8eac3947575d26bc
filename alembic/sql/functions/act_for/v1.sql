-- For the rest of this transaction an administrator acts for a tenant: enqueues, cancels, reads as it would.
create or replace function jobforge.act_for(p_tenant_id text) returns void
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    perform jobforge.check_tenant(p_tenant_id);
    perform set_config('jobforge.tenant_id', p_tenant_id, true), set_config('request.jwt.claims', '', true);
    if not exists (select from jobforge.settings s where s.tenancy = 'plain') then
        perform set_config('jobforge.tenant_token', jobforge.new_token(p_tenant_id, now() + interval '1 minute'), true);
    end if;
end
$$;

grant execute on function jobforge.act_for(text) to jobforge_admin;
comment on function jobforge.act_for(text) is 'Act for a tenant in the rest of this transaction.';
