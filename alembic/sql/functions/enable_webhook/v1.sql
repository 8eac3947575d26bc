-- Lets webhooks go to an endpoint of this tenant's again, its failures forgotten. Answers what was said of it, if anything
-- was. Webhooks that were not sent meanwhile are canceled jobs: retry_job brings each back.
create or replace function jobforge.enable_webhook(p_url text)
returns table (
    tenant_id text, url text, failures integer, first_failed_at timestamptz, disabled_at timestamptz, reason text
)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_tenant text := jobforge.require_tenant(null);
begin
    return query
        delete from jobforge.webhook_endpoints e
         where e.tenant_id = v_tenant and e.url_sha256 = sha256(convert_to(p_url, 'UTF8'))
        returning e.tenant_id, e.url, e.failures, e.first_failed_at, e.disabled_at, e.reason;
end
$$;

grant execute on function jobforge.enable_webhook to jobforge_app, jobforge_admin;
comment on function jobforge.enable_webhook is 'Let webhooks go to an endpoint of this tenant''s again.';
