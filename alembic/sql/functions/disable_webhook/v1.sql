-- Sends nothing more to an endpoint of this tenant's, from the next run on. Answers how it stands; one that was disabled
-- already keeps its time and reason.
create or replace function jobforge.disable_webhook(p_url text, p_reason text default null)
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
    if p_url is null or length(p_url) not between 1 and 2048 then
        raise exception 'jobforge: the URL of an endpoint has 1 to 2048 characters'
            using errcode = 'JF003', hint = 'Name it as the webhooks do: the whole URL.';
    end if;
    return query
        insert into jobforge.webhook_endpoints as e (tenant_id, url_sha256, url, failures, disabled_at, reason)
        values (v_tenant, sha256(convert_to(p_url, 'UTF8')), p_url, 0, jobforge.now(),
                left(coalesce(p_reason, 'somebody disabled it'), 1000))
        on conflict (tenant_id, url_sha256) do update
           set disabled_at = coalesce(e.disabled_at, excluded.disabled_at),
               reason = case when e.disabled_at is null then excluded.reason else e.reason end
        returning e.tenant_id, e.url, e.failures, e.first_failed_at, e.disabled_at, e.reason;
end
$$;

grant execute on function jobforge.disable_webhook to jobforge_app, jobforge_admin;
comment on function jobforge.disable_webhook is 'Send nothing more to an endpoint of this tenant''s.';
