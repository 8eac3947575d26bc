-- Jobs wait in a queue that no live worker works on. They are safe, and nobody runs them. Looked at are 1,000.
with recursive queue (name, n) as (
    (select r.queue, 1 from jobforge.ready r order by r.queue limit 1)
    union all
    select (select r.queue from jobforge.ready r where r.queue > q.name order by r.queue limit 1), q.n + 1
      from queue q where q.name is not null and q.n < 1000
)
select 'error' as level, format('queue %s', q.name) as object,
       concat('jobs wait, the first since ', jobforge.moment_text(first.run_at), ', and no live worker works on it',
              '; the last one lived until ' || jobforge.moment_text(served.last_alive)) as detail,
       concat('jobforge worker MODULE:FORGE --queue ', q.name,
              case when served.last_alive is null then '  # if the name is right: jobforge queues' end) as remedy
  from queue q
 cross join lateral (select j.type, j.run_at from jobforge.ready r join jobforge.jobs j on j.id = r.job_id
                      where r.queue = q.name order by r.queue, r.lane, r.tenant_id, r.priority, r.job_id limit 1) first
 cross join lateral jobforge.workers_of(q.name, first.type) served
 where served.living = 0 and first.run_at < jobforge.now() - interval '1 minute';
