-- Workers that live, and those of the last hour that were lost without taking leave.
select count(*) filter (where w.alive_until > jobforge.now()) as live,
       count(*) filter (where w.alive_until <= jobforge.now()) as lost
  from jobforge.workers w
