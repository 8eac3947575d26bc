-- Every attempt to deliver a webhook; of the tenants that who asks may see, as in all_jobs.
create view jobforge.all_deliveries with (security_invoker = true) as
select job_id, run, tenant_id, attempt, url, event_id, event_type, outcome, status, error, duration_ms, preview, at
  from jobforge.webhook_deliveries
 where (select row_security_active('jobforge.webhook_deliveries')) or tenant_id = (select jobforge.current_tenant());

grant select on jobforge.all_deliveries to jobforge_app, jobforge_admin;
comment on view jobforge.all_deliveries is 'Every attempt to deliver a webhook, of the tenants that who asks may see.';
