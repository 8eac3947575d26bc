-- The endpoints of which there is something to say: that fail, or are disabled. Runs with the rights of who asks, as
-- get_job does.
create or replace function jobforge.list_webhooks(p_url text default null, p_limit integer default 1000)
returns table (
    tenant_id text, url text, failures integer, first_failed_at timestamptz, disabled_at timestamptz, reason text
)
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_tenant text := jobforge.current_tenant();
begin
    if p_limit not between 1 and 10000 then
        raise exception 'jobforge: p_limit must be between 1 and 10000'
            using errcode = 'JF003', hint = 'Ask for one endpoint: p_url.';
    end if;
    return query
        select e.tenant_id, e.url, e.failures, e.first_failed_at, e.disabled_at, e.reason
          from jobforge.webhook_endpoints e
         where (v_tenant is null or e.tenant_id = v_tenant)
           and (p_url is null or e.url_sha256 = sha256(convert_to(p_url, 'UTF8')))
         order by e.disabled_at is null, e.tenant_id, e.url limit coalesce(p_limit, 1000);
end
$$;

grant execute on function jobforge.list_webhooks to jobforge_app, jobforge_admin;
comment on function jobforge.list_webhooks is 'The endpoints that fail, or are disabled.';
