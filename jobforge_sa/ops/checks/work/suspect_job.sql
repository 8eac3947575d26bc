-- A job that has lost its last two workers runs alone, in a worker that has nothing else to do; after five it is dead. Either
-- it kills its process (memory, a fault in C code), or it was there when something else did.
select 'warning' as level, format('job %s', r.job_id) as object,
       format('%s of %s has lost its last %s workers, and waits to run alone', r.type, r.tenant_id, r.crashes) as detail,
       format('jobforge jobs show %s', r.job_id) as remedy
  from (select distinct q.queue from jobforge.ready q where q.suspect) u
 cross join lateral (select * from jobforge.ready r where r.queue = u.queue and r.suspect
                      order by r.tenant_id, r.priority, r.job_id limit 20) r;
