-- While a transaction that has changed a limit is open, claims pass over that limit's row: they give nothing of its tenant,
-- queue or task. A limit is committed at once.
select 'warning' as level, format('backend %s', a.pid) as object,
       concat_ws(' ', 'it has changed jobforge.limits and is open since',
                 to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC":'),
                 a.usename, nullif(format('(%s)', a.application_name), '()'), a.state) as detail,
       format('select pg_terminate_backend(%s);  -- or commit or roll back there', a.pid) as remedy
  from pg_locks l
  join pg_class c on c.oid = l.relation and c.relname = 'limits' and c.relnamespace = to_regnamespace('jobforge')
  join pg_stat_activity a on a.pid = l.pid
 where l.mode = 'RowExclusiveLock' and l.granted
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
   and a.xact_start < now() - interval '10 seconds';  -- a claim has ended by then
