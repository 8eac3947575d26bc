-- Notes one attempt to deliver a webhook, and what it means for its endpoint: a success ends a row of failures; a row that
-- is long enough, and has lasted long enough, disables it, and so does an endpoint that says that it is gone. The token is
-- the right, as in complete_jobs; called in the transaction of the completion, so that the two are there together or not at
-- all. The lease is locked first, then the endpoint: in the order in which a purge meets them. Answers how the endpoint stands
-- now; no row: the lease is lost, roll back.
create or replace function jobforge.log_delivery(
    p_job_id             uuid,
    p_lease_token        uuid,
    p_url                text,
    p_event_id           text,
    p_event_type         text,
    p_outcome            text,
    p_status             integer  default null,
    p_error              text     default null,
    p_duration_ms        integer  default null,
    p_preview            text     default null,
    p_disable_after      integer  default 20,
    p_disable_after_time interval default '1 hour'
) returns table (failures integer, disabled_at timestamptz)
language plpgsql security definer
set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
    v_now  timestamptz := jobforge.now();
    v_run  record;
    v_key  bytea := sha256(convert_to(p_url, 'UTF8'));
begin
    if p_outcome is null or p_outcome not in ('delivered', 'failed', 'gone', 'blocked', 'skipped') then
        raise exception 'jobforge: no delivery ends as %', coalesce(quote_literal(left(p_outcome, 50)), 'NULL')
            using errcode = 'JF003', hint = 'Outcomes: delivered, failed, gone, blocked, skipped.';
    end if;
    if p_url is null or length(p_url) not between 1 and 2048 or p_event_id is null or length(p_event_id) not between 1 and 200
       or p_event_type is null or length(p_event_type) > 200 then
        raise exception 'jobforge: a delivery has a URL of 1 to 2048 characters, an event id of 1 to 200, a type of up to 200'
            using errcode = 'JF003', hint = 'They are those of the job''s payload.';
    end if;
    select l.tenant_id, l.run, l.attempt into v_run from jobforge.leases l
     where l.job_id = p_job_id and l.token = p_lease_token
       and l.tenant_id = coalesce(jobforge.current_tenant(), l.tenant_id)
       for share;
    if not found then
        return;
    end if;
    insert into jobforge.webhook_deliveries (job_id, run, tenant_id, attempt, url, event_id, event_type, outcome, status,
                                             error, duration_ms, preview, at)
    values (p_job_id, v_run.run, v_run.tenant_id, v_run.attempt, p_url, p_event_id, p_event_type, p_outcome, p_status,
            left(p_error, 1000), p_duration_ms, left(p_preview, 2000), v_now);
    if p_outcome = 'delivered' then  -- one that somebody has disabled meanwhile stays so
        delete from jobforge.webhook_endpoints e
         where e.tenant_id = v_run.tenant_id and e.url_sha256 = v_key and e.disabled_at is null;
    elsif p_outcome in ('failed', 'gone') then
        insert into jobforge.webhook_endpoints as e (tenant_id, url_sha256, url, failures, first_failed_at, last_failed_at)
        values (v_run.tenant_id, v_key, p_url, 1, v_now, v_now)
        on conflict (tenant_id, url_sha256) do update
           set failures = least(e.failures, 1000000000) + 1, first_failed_at = coalesce(e.first_failed_at, v_now),
               last_failed_at = v_now;
        update jobforge.webhook_endpoints e
           set disabled_at = v_now,
               reason = case p_outcome when 'gone' then 'it answered 410 Gone'
                        else format('%s deliveries in a row have failed since %s', e.failures,
                                    jobforge.moment_text(e.first_failed_at)) end
         where e.tenant_id = v_run.tenant_id and e.url_sha256 = v_key and e.disabled_at is null
           and (p_outcome = 'gone' or e.failures >= coalesce(p_disable_after, 20)
                                      and e.first_failed_at <= v_now - coalesce(p_disable_after_time, interval '1 hour'));
    end if;
    return query
        select coalesce(e.failures, 0), e.disabled_at from (values (1)) one
          left join jobforge.webhook_endpoints e on e.tenant_id = v_run.tenant_id and e.url_sha256 = v_key;
end
$$;

grant execute on function jobforge.log_delivery to jobforge_app, jobforge_worker;
comment on function jobforge.log_delivery is 'Note an attempt to deliver a webhook, by the lease token of its run.';
