-- The roles' right to use the schema may be taken away, to open it to single logins instead. One that was forgotten is
-- refused everything, with an error that names the schema and not the right that it lacks.
select 'error' as level, format('login %I', r.rolname) as object,
       format('it is in %s, and may not use the schema jobforge: it can neither enqueue nor work nor look at jobs',
              roles.names) as detail,
       format('grant usage on schema jobforge to %I;', r.rolname) as remedy
  from pg_roles r
 cross join (select case when current_setting('server_version_num')::int >= 160000
                         then 'usage, set' else 'member' end as word) may
 cross join lateral (
       select string_agg(ours.rolname, ', ' order by ours.rolname) as names
         from pg_roles ours
        where ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
          and pg_has_role(r.oid, ours.oid, may.word)) roles
 where r.rolname = session_user and not r.rolsuper and roles.names is not null
   and not exists (select from pg_roles g  -- itself, or a role that it may act as
                    where pg_has_role(r.oid, g.oid, may.word)
                      and has_schema_privilege(g.oid, to_regnamespace('jobforge'), 'usage'));
