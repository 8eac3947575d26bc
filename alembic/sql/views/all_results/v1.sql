-- What handlers returned; of the tenants that who asks may see, as in all_jobs.
create view jobforge.all_results with (security_invoker = true) as
select job_id, tenant_id, value
  from jobforge.results
 where (select row_security_active('jobforge.results')) or tenant_id = (select jobforge.current_tenant());

grant select on jobforge.all_results to jobforge_app, jobforge_admin;
comment on view jobforge.all_results is 'What handlers returned, of the tenants that who asks may see.';
