-- After a backlog, or a snapshot that was held for long, a table or an index is far larger than what is in it. Claims go by
-- index and hardly notice; backups, and whoever reads all of it, do.
select 'note' as level, format('%s jobforge.%I', case i.relkind when 'i' then 'index' else 'table' end, i.relname) as object,
       format('it has %s for %s rows', pg_size_pretty(size.bytes), rows.count) as detail,
       case i.relkind when 'i' then format('reindex index concurrently jobforge.%I;', i.relname)
                      else format('vacuum full jobforge.%I;', i.relname) end as remedy
  from pg_class t
  join pg_stat_all_tables s on s.relid = t.oid
  join pg_class i on i.oid = t.oid or i.oid in (select x.indexrelid from pg_index x where x.indrelid = t.oid)
 cross join lateral (select pg_relation_size(i.oid) as bytes) size
 cross join lateral (select greatest(s.n_live_tup, t.reltuples::bigint, 0) + s.n_dead_tup as count) rows
 where t.relnamespace = to_regnamespace('jobforge') and t.relkind = 'r'
   and t.relname in ('ready', 'scheduled', 'leases', 'workers', 'cancel_requests', 'waits')
   and size.bytes > 268435456 and size.bytes > rows.count * 2000;  -- a row takes 100 to 200
