-- A server without free connections refuses workers and the application alike (53300). A worker has its slots' sessions,
-- and four connections of its own.
select case when used.count >= places.count * 0.95 then 'error' else 'warning' end as level, 'connections' as object,
       format('%s of %s are in use; most by %s', used.count, places.count, most.names) as detail,
       'make the pools smaller (pool_size, --concurrency), put a pooler in between, or raise max_connections' as remedy
  from (select count(*) from pg_stat_activity where backend_type = 'client backend') used
 cross join (select current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
                    as count) places
 cross join (select string_agg(format('%s (%s)', coalesce(nullif(m.application_name, ''), m.usename), m.count), ', '
                               order by m.count desc) as names
               from (select a.application_name, a.usename, count(*) from pg_stat_activity a
                      where a.backend_type = 'client backend' group by 1, 2 order by 3 desc limit 3) m) most
 where used.count >= places.count * 0.8;
