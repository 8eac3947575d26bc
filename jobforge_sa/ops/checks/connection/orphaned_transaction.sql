-- A prepared transaction that nobody ends keeps its locks for ever, through restarts too: its jobs can be neither run nor
-- canceled, its idempotency keys block those who enqueue with them, and no table gets its space back.
select case when x.prepared < now() - interval '1 minute' then 'warning' else 'note' end as level,
       format('prepared transaction %L', x.gid) as object,
       format('of %s, since %s, holds locks on %s', x.owner, to_char(x.prepared at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"'),
              string_agg(distinct c.relname, ', ' order by c.relname)) as detail,
       format('rollback prepared %L;  -- or commit prepared', x.gid) as remedy
  from pg_prepared_xacts x
       -- its locks have no pid, and a virtual id that they share with the lock on its own id
  join pg_locks own on own.transactionid = x.transaction and own.pid is null
  join pg_locks l on l.virtualtransaction = own.virtualtransaction and l.pid is null
  join pg_class c on c.oid = l.relation and c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p')
 where x.database = current_database()
   and l.database = (select d.oid from pg_database d where d.datname = current_database())
 group by x.gid, x.owner, x.prepared;
