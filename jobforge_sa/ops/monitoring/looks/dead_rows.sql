-- Rows of the hot tables that were deleted and are not vacuumed yet: each claim may read past them.
select s.relname::text, s.n_dead_tup
  from pg_stat_user_tables s
 where s.schemaname = 'jobforge' and s.relname in ('ready', 'scheduled', 'leases', 'workers', 'cancel_requests', 'waits')
 order by s.relname
