-- A job that is dead because five workers in a row died with it. Looked at are the last 10,000 that have ended.
select 'warning' as level, format('job %s', o.job_id) as object,
       format('%s of %s has killed %s workers, the last at %s', j.type, o.tenant_id, o.crashes,
              jobforge.moment_text(o.finished_at)) as detail,
       format('jobforge jobs retry %s  # when its cause is mended; its task may run in a process of its own: process=True',
              o.job_id) as remedy
  from (select * from jobforge.outcomes o order by o.job_id desc limit 10000) o
  join jobforge.jobs j on j.id = o.job_id
 where o.state = 'dead' and o.crashes >= 5 and o.finished_at > jobforge.now() - interval '7 days'
 order by o.job_id desc limit 20;
