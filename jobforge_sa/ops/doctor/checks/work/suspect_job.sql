-- A job that has lost its last two workers runs alone, in a worker that has nothing else to do; after five it is dead. Either
-- it kills its process (memory, a fault in C code), or it was there when something else did. Looked at are 200 queues.
with recursive queue (name, n) as (
    (select r.queue, 1 from jobforge.ready r order by r.queue limit 1)
    union all
    select (select r.queue from jobforge.ready r where r.queue > q.name order by r.queue limit 1), q.n + 1
      from queue q where q.name is not null and q.n < 200
)
select 'warning' as level, format('job %s', r.job_id) as object,
       format('%s of %s has lost its last %s workers, and waits to run alone', r.type, r.tenant_id, r.crashes) as detail,
       format('jobforge jobs show %s  # and until its cause is known: jobforge jobs cancel %1$s', r.job_id) as remedy
  from queue q
 cross join lateral (select * from jobforge.ready r where r.queue = q.name and r.lane = '!suspect'
                      order by r.tenant_id, r.priority, r.job_id limit 20) r
 limit 20;
