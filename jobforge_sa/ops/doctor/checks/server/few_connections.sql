-- Where no connection is free, workers and the application alike are refused (53300): on the server, in the database, or
-- for a login, for each of them may have a limit. A worker has its slots' sessions, and five connections of its own.
with session as materialized (  -- whose it is all may see; what kind it is, of others, only members of pg_read_all_stats
    select a.datid, a.usesysid, coalesce(nullif(a.application_name, ''), a.usename) as name
      from pg_stat_activity a
     where a.backend_type = 'client backend' or a.backend_type is null and a.datid is not null and a.usesysid is not null
), place (object, count, datid, usesysid, remedy) as (
    select 'connections of the server',
           current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
               - coalesce(current_setting('reserved_connections', true)::int, 0),  -- from 16 on
           null::oid, null::oid,
           'make the pools smaller (pool_size, --concurrency), put a pooler in between, or raise max_connections'
    union all
    select format('connections of the database %I', d.datname), d.datconnlimit, d.oid, null,
           format('alter database %I connection limit %s;', d.datname, 2 * d.datconnlimit + 10)
      from pg_database d where d.datname = current_database() and d.datconnlimit >= 0
    union all
    select format('connections of the login %I', r.rolname), r.rolconnlimit, null, r.oid,
           format('alter role %I connection limit %s;', r.rolname, 2 * r.rolconnlimit + 10)
      from pg_roles r
     where r.rolcanlogin and not r.rolsuper and r.rolconnlimit >= 0
       and exists (select from pg_roles ours where ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
                                               and pg_has_role(r.oid, ours.oid, 'member'))
)
select case when used.count >= p.count * 0.95 then 'error' else 'warning' end as level, p.object,
       format('%s of %s are in use; most by %s', used.count, p.count, used.names) as detail, p.remedy
  from place p
 cross join lateral (
       select sum(m.count) as count,
              string_agg(format('%s (%s)', m.name, m.count), ', ' order by m.place) filter (where m.place <= 3) as names
         from (select s.name, count(*), row_number() over (order by count(*) desc, s.name) as place from session s
                where s.datid = coalesce(p.datid, s.datid) and s.usesysid = coalesce(p.usesysid, s.usesysid)
                group by s.name) m) used
 where used.count >= p.count * 0.8;
