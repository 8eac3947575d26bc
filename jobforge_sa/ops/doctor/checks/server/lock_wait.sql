-- Our functions hold a lock for milliseconds, and skip what others hold wherever they can. Who keeps one for longer, on our
-- tables or on a row of them, holds up enqueues, completions, or a migration, and behind a migration that waits everybody.
with lock as materialized (
    select l.*, c.relname
      from pg_locks l
      left join pg_class c on c.oid = l.relation and c.relnamespace = to_regnamespace('jobforge')
           and l.database = (select d.oid from pg_database d where d.datname = current_database())
), waiting as materialized (
    select w.pid, min(w.waitstart) as since, min(coalesce(w.relname, o.relname)) as relname
      from lock w join lock o on o.pid = w.pid and o.relname is not null  -- it has a lock on a table of ours, or wants one
     where not w.granted and w.waitstart < now() - interval '10 seconds'
     group by w.pid
), held as (
    select b.pid, count(*), min(w.since) as since, min(w.relname) as relname
      from waiting w cross join lateral unnest(pg_blocking_pids(w.pid)) b (pid)
     where b.pid not in (select o.pid from waiting o)  -- those at the head of the line
     group by b.pid
)
select 'warning' as level, case h.pid when 0 then 'a prepared transaction' else format('backend %s', h.pid) end as object,
       concat_ws(' ', format('%s wait for its locks (jobforge.%s), since', h.count, h.relname),
                 to_char(h.since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC":'), a.usename,
                 nullif(format('(%s)', a.application_name), '()'), a.state) as detail,
       case h.pid when 0 then 'select * from pg_prepared_xacts;  -- then rollback prepared, or commit prepared'
                  else format('select pg_terminate_backend(%s);', h.pid) end as remedy
  from held h left join pg_stat_activity a on a.pid = h.pid;
