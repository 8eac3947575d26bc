-- The next job of a tenant has a type that no live worker of its queue knows: a worker with older code, or a task that
-- was renamed while jobs of it were waiting. Looked at are 200 queues, and the first 1,000 tenants of each.
with recursive queue (name, n) as (
    (select r.queue, 1 from jobforge.ready r order by r.queue limit 1)
    union all
    select (select r.queue from jobforge.ready r where r.queue > q.name order by r.queue limit 1), q.n + 1
      from queue q where q.name is not null and q.n < 200
), head as (
    select q.name as queue, h.job_id, h.type from queue q cross join lateral (
        with recursive head (lane, tenant_id, job_id, type, n) as (
            (select r.lane, r.tenant_id, r.job_id, r.type, 1 from jobforge.ready r where r.queue = q.name
              order by r.lane, r.tenant_id, r.priority, r.job_id limit 1)
            union all
            select next.lane, next.tenant_id, next.job_id, next.type, h.n + 1
              from head h cross join lateral (
                   select r.lane, r.tenant_id, r.job_id, r.type from jobforge.ready r
                    where r.queue = q.name and (r.lane, r.tenant_id) > (h.lane, h.tenant_id)
                    order by r.lane, r.tenant_id, r.priority, r.job_id limit 1) next
             where h.n < 1000
        ) select * from head) h
)
select 'error' as level, format('type %s', h.type) as object,
       format('jobs of it wait in the queue %s, the first since %s, and of its live workers (%s) none knows it',
              h.queue, jobforge.moment_text(min(j.run_at)), served.living) as detail,
       format('jobforge worker MODULE:FORGE --queue %s  # of an application that has the task %s; or: jobforge jobs cancel %s',
              h.queue, h.type, string_agg(h.job_id::text, ' ' order by h.job_id)) as remedy
  from (select *, row_number() over (partition by queue, type order by job_id) as place from head) h
  join jobforge.jobs j on j.id = h.job_id
 cross join lateral jobforge.workers_of(h.queue, h.type) served
 where served.living > 0 and served.knowing = 0 and j.run_at < jobforge.now() - interval '1 minute' and h.place <= 10
 group by h.type, h.queue, served.living;
