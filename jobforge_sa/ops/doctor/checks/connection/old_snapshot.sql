-- While a snapshot is held, or a transaction that has written stays open, no row that was deleted since can go away. Tables
-- grow, and what reads all of something, such as rescues, heartbeats and lists of queues, reads past all of that. Claims pass
-- most of it, for they note where jobs begin. The five that hold the oldest are told.
select case when a.xact_start < now() - interval '1 hour' then 'warning' else 'note' end as level,
       format('backend %s', a.pid) as object,
       concat_ws(' ', case when a.place = 1 then 'it holds the oldest snapshot, since' else 'it holds a snapshot since' end,
                 to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC":'),
                 a.usename, nullif(format('(%s)', a.application_name), '()'), a.state) as detail,
       format('select pg_terminate_backend(%s);', a.pid) as remedy
  from (select s.*, row_number() over (order by greatest(age(s.backend_xmin), age(s.backend_xid)) desc, s.pid) as place
          from pg_stat_activity s  -- of other logins it shows the snapshots to members of pg_read_all_stats only
         where s.datname = current_database() and coalesce(s.backend_xmin, s.backend_xid) is not null
           and s.pid <> pg_backend_pid() and s.backend_type <> 'autovacuum worker'  -- which does not hold up itself
           and s.xact_start < now() - interval '5 minutes') a
 where a.place <= 5;
