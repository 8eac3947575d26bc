-- When there is work for all of them, each live worker opens a connection for each of its slots, and five of its own. Where
-- the server, the database or the login has no room for that, connections are refused (53300) in the hour of the greatest
-- load, the application's too. Workers that have not said how many they open are left out.
with worker as materialized (
    select count(*) as count, sum(w.connections) as needed from jobforge.workers w where w.alive_until > jobforge.now()
), session as materialized (  -- of all others; an embedded worker's handlers use its application's pool, and count twice
    select a.datid, a.usesysid, a.usename, a.application_name,
           a.application_name in ('jobforge worker', 'jobforge handlers') as ours
      from pg_stat_activity a
     where a.backend_type = 'client backend' or a.backend_type is null and a.datid is not null and a.usesysid is not null
), place (name, count, others) as (
    select 'the server',
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0),
           (select count(*) from session s where not s.ours)
    union all
    select format('the database %I', d.datname), d.datconnlimit,
           (select count(*) from session s where not s.ours and s.datid = d.oid)
      from pg_database d where d.datname = current_database() and d.datconnlimit >= 0
    union all  -- where all workers, with their handlers, log in as one
    select format('the login %I', r.rolname), r.rolconnlimit,
           (select count(*) from session s where not s.ours and s.usesysid = r.oid)
      from pg_roles r
     where not r.rolsuper and r.rolconnlimit >= 0 and array[r.oid] = array(select distinct s.usesysid from session s where s.ours)
)
select case when w.needed > p.count then 'warning' else 'note' end as level, p.name as object,
       format('%s live workers open up to %s connections%s, and it has room for %s', w.count, w.needed,
              case when w.needed <= p.count then format(', others have %s now: together %s', p.others, w.needed + p.others) end,
              p.count) as detail,
       'jobforge worker MODULE:FORGE --concurrency N  # fewer slots, fewer workers, a pooler, or a higher limit' as remedy
  from place p cross join worker w
 where w.needed + p.others > p.count;
