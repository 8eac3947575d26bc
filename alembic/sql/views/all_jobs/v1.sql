-- Every job with its state: where it stands. UNION ALL with literal states, so that a filter on state reads one
-- branch only. It runs with the rights of who asks: the policies of the tables decide what is seen. Superusers and
-- whoever has BYPASSRLS are bound by no policy; for them the last line does the policy's work. Every branch names its
-- columns, or the view would read otherwise after a restore from a dump.
create view jobforge.all_jobs with (security_invoker = true) as
select * from (
    select j.*, 'queued'::text collate "C" as state, r.run, r.attempt, r.crashes, null::timestamptz as due_at,
           null::uuid as worker_id, null::timestamptz as claimed_at, null::timestamptz as deadline,
           null::timestamptz as finished_at, null::json as result
      from jobforge.jobs j
      join jobforge.ready r on r.tenant_id = j.tenant_id and r.job_id = j.id
    union all
    select j.*, 'scheduled'::text collate "C" as state, s.run, s.attempt, s.crashes, s.run_at as due_at,
           null::uuid as worker_id, null::timestamptz as claimed_at, null::timestamptz as deadline,
           null::timestamptz as finished_at, null::json as result
      from jobforge.jobs j join jobforge.scheduled s on s.tenant_id = j.tenant_id and s.job_id = j.id
    union all
    select j.*, 'running'::text collate "C" as state, l.run, l.attempt, l.crashes, null::timestamptz as due_at,
           l.worker_id, l.claimed_at, l.deadline, null::timestamptz as finished_at, null::json as result
      from jobforge.jobs j join jobforge.leases l on l.job_id = j.id and l.tenant_id = j.tenant_id
    union all
    select j.*, 'succeeded'::text collate "C" as state, o.run, o.attempt, o.crashes, null::timestamptz as due_at,
           null::uuid as worker_id, null::timestamptz as claimed_at, null::timestamptz as deadline, o.finished_at,
           (select r.value from jobforge.results r where r.job_id = o.job_id and r.tenant_id = o.tenant_id) as result
      from jobforge.jobs j join jobforge.outcomes o on o.job_id = j.id and o.tenant_id = j.tenant_id
     where o.state = 'succeeded'
    union all
    select j.*, 'dead'::text collate "C" as state, o.run, o.attempt, o.crashes, null::timestamptz as due_at,
           null::uuid as worker_id, null::timestamptz as claimed_at, null::timestamptz as deadline, o.finished_at,
           null::json as result
      from jobforge.jobs j join jobforge.outcomes o on o.job_id = j.id and o.tenant_id = j.tenant_id
     where o.state = 'dead'
    union all
    select j.*, 'canceled'::text collate "C" as state, o.run, o.attempt, o.crashes, null::timestamptz as due_at,
           null::uuid as worker_id, null::timestamptz as claimed_at, null::timestamptz as deadline, o.finished_at,
           null::json as result
      from jobforge.jobs j join jobforge.outcomes o on o.job_id = j.id and o.tenant_id = j.tenant_id
     where o.state = 'canceled') every_job
 where (select row_security_active('jobforge.jobs')) or tenant_id = (select jobforge.current_tenant());

grant select on jobforge.all_jobs to jobforge_app, jobforge_admin;
comment on view jobforge.all_jobs is 'Every job with its state, of the tenants that who asks may see.';
