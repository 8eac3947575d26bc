-- A prepared transaction that nobody ends keeps its locks for ever, through restarts too: its jobs can be neither run nor
-- canceled, its idempotency keys block those who enqueue with them, and no table gets its space back: not even where it has
-- touched none of ours.
select case when x.prepared < now() - interval '1 minute' then 'warning' else 'note' end as level,
       format('prepared transaction %L', x.gid) as object,
       format('of %s, since %s, %s', x.owner, to_char(x.prepared at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'),
              coalesce('holds locks on ' || held.names, 'keeps vacuum from what was deleted since')) as detail,
       format('rollback prepared %L;  -- or commit prepared', x.gid) as remedy
  from pg_prepared_xacts x
 cross join lateral (  -- its locks have no pid, and a virtual id that they share with the lock on its own id
       select string_agg(distinct c.relname, ', ' order by c.relname) as names
         from pg_locks own
         join pg_locks l on l.virtualtransaction = own.virtualtransaction and l.pid is null
         join pg_class c on c.oid = l.relation and c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p')
        where own.transactionid = x.transaction and own.pid is null
          and l.database = (select d.oid from pg_database d where d.datname = current_database())) held
 where x.database = current_database() and (held.names is not null or x.prepared < now() - interval '5 minutes');
