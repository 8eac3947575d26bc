-- Rows that were deleted and are not vacuumed yet stand in the way of every claim. Where a snapshot or a prepared
-- transaction is held, vacuum cannot take them away, and this grows until it ends.
select case when s.n_dead_tup > 1000000 then 'error' else 'warning' end as level,
       format('table jobforge.%I', s.relname) as object,
       format('%s rows wait for vacuum, %s are in use; last vacuumed %s', s.n_dead_tup, s.n_live_tup,
              coalesce(to_char(greatest(s.last_vacuum, s.last_autovacuum) at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'),
                       'never')) as detail,
       format('vacuum jobforge.%I;', s.relname) as remedy
  from pg_stat_user_tables s
 where s.schemaname = 'jobforge' and s.relname in ('ready', 'scheduled', 'leases', 'workers', 'cancel_requests', 'waits')
   and s.n_dead_tup > 100000 + s.n_live_tup;
