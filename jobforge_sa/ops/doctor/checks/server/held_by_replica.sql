-- A replication slot that nobody reads keeps the write-ahead log from the moment on where its reader went, until the disk is
-- full. One that reports a standby's queries (hot_standby_feedback) also keeps vacuum from rows, as a session here would.
select case when not s.active and held.bytes > 10737418240 then 'warning' else 'note' end as level,
       format('replication slot %I', s.slot_name) as object,
       concat_ws(', ', case when s.active then 'it is in use' else 'nobody reads it' end,
                 case when not s.active then format('it keeps %s of the log', pg_size_pretty(held.bytes)) end,
                 case when held.age > 1000000
                      then format('it keeps vacuum from what the last %s transactions deleted', held.age) end) as detail,
       case when s.active then 'alter system set hot_standby_feedback = off; select pg_reload_conf();  -- on the standby'
            else format('select pg_drop_replication_slot(%L);', s.slot_name) end as remedy
  from pg_replication_slots s
 cross join lateral (select age(s.xmin) as age, pg_wal_lsn_diff(
       case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end, s.restart_lsn) as bytes) held
 where not s.active and held.bytes > 1073741824 or held.age > 1000000;
