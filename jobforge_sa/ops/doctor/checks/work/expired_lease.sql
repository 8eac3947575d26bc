-- A lease whose worker is dead, or whose deadline has passed, is taken back by the upkeep of any worker within a lease's
-- time. Where it stays, no worker lives, or its upkeep fails: look at the workers' logs.
select 'error' as level, format('job %s', l.job_id) as object,
       case when l.deadline <= jobforge.now() - interval '2 minutes'
            then format('its lease has passed its deadline, %s, and nobody took it back', jobforge.moment_text(l.deadline))
            else format('its worker is dead%s, and nobody took the job back', ' since ' || jobforge.moment_text(w.alive_until))
       end as detail,
       'select jobforge.rescue_expired_jobs();  -- and start a worker, whose upkeep does that' as remedy
  from jobforge.leases l left join jobforge.workers w on w.worker_id = l.worker_id
 where l.deadline <= jobforge.now() - interval '2 minutes' or w.alive_until is null
    or w.alive_until <= jobforge.now() - interval '2 minutes'
 order by l.job_id limit 20;
