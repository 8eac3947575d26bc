-- Every run that has ended, without its token; of the tenants that who asks may see, as in all_jobs.
create view jobforge.all_attempts with (security_invoker = true) as
select job_id, run, tenant_id, attempt, outcome, worker_id, claimed_at, finished_at, run_ms, error
  from jobforge.attempts
 where (select row_security_active('jobforge.attempts')) or tenant_id = (select jobforge.current_tenant());

grant select on jobforge.all_attempts to jobforge_app, jobforge_admin;
comment on view jobforge.all_attempts is 'Every run that has ended, of the tenants that who asks may see.';
