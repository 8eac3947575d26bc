-- Leases that are over for more than a minute, and nobody took them back: no worker lives, or its upkeep fails. There are
-- no more leases than handlers that run.
select count(*)
  from (select from jobforge.leases l left join jobforge.workers w on w.worker_id = l.worker_id
         where l.deadline < (select jobforge.now()) - interval '1 minute' or w.alive_until is null
            or w.alive_until < (select jobforge.now()) - interval '1 minute' limit 10000) e
