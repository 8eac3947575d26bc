-- The next job of a tenant has a type that no live worker of its queue knows: a worker with older code, or a task that
-- was renamed while jobs of it were waiting. Looked at are the first 1,000 tenants of each queue.
with recursive head (queue, tenant_id, job_id, type, n) as (
    (select r.queue, r.tenant_id, r.job_id, r.type, 1 from jobforge.ready r
      where not r.suspect order by r.queue, r.suspect, r.tenant_id, r.priority, r.job_id limit 1)
    union all
    select next.queue, next.tenant_id, next.job_id, next.type, h.n + 1
      from head h cross join lateral (
           select r.queue, r.tenant_id, r.job_id, r.type from jobforge.ready r
            where not r.suspect and (r.queue, r.suspect, r.tenant_id) > (h.queue, false, h.tenant_id)
            order by r.queue, r.suspect, r.tenant_id, r.priority, r.job_id limit 1) next
     where h.n < 1000
)
select 'error' as level, format('type %s', h.type) as object,
       format('jobs of it wait in the queue %s, the first since %s, and of its live workers (%s) none knows it',
              h.queue, jobforge.moment_text(min(j.run_at)), served.living) as detail,
       format('start a worker whose application has the task %s; or cancel them: jobforge jobs list --type %s', h.type, h.type)
           as remedy
  from head h join jobforge.jobs j on j.id = h.job_id
 cross join lateral jobforge.workers_of(h.queue, h.type) served
 where served.living > 0 and served.knowing = 0 and j.run_at < jobforge.now() - interval '1 minute'
 group by h.type, h.queue, served.living;
