-- Who looks, and at what. Like the checks it reads the catalog only, so that any login may ask.
select current_database()::text as database, r.rolname::text as login, r.rolsuper as superuser,
       current_setting('server_version') as server,
       array(select ours.rolname::text from pg_roles ours
              where ours.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
                and pg_has_role(r.oid, ours.oid, case when current_setting('server_version_num')::int >= 160000
                                                      then 'usage, set' else 'member' end)
              order by ours.rolname) as roles,
       pg_has_role(r.oid, 'pg_read_all_stats', 'usage') as sees_sessions,
       exists (select from pg_class c where c.relnamespace = to_regnamespace('jobforge') and c.relkind = 'r') as migrated
  from pg_roles r
 where r.rolname = session_user;
