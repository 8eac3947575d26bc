-- Who gets to run SQL as a login may do all that its roles may. Where one login serves several purposes, a hole in one of
-- them, such as SQL injection in the web application, opens the others too.
with login as (
    select r.oid, r.rolname,
           case when current_setting('server_version_num')::int >= 160000 then 'usage, set' else 'member' end as may
      from pg_roles r
     where r.rolcanlogin and not r.rolsuper and has_database_privilege(r.oid, current_database(), 'connect')
       and not exists (select from pg_roles owner  -- a migrator's: owner_login tells, and has the cure
                        where owner.rolname = 'jobforge_owner' and pg_has_role(r.oid, owner.oid, 'member')
                          and (r.rolcreaterole or exists (select from pg_auth_members m
                                                           where m.roleid = owner.oid and m.member = r.oid and m.admin_option)))
), holds as (
    select login.oid, login.rolname,
           exists (select from pg_roles r where r.rolname = 'jobforge_app' and pg_has_role(login.oid, r.oid, may)) as app,
           exists (select from pg_roles r where r.rolname = 'jobforge_worker' and pg_has_role(login.oid, r.oid, may)) as worker,
           exists (select from pg_roles r where r.rolname = 'jobforge_admin' and pg_has_role(login.oid, r.oid, may)) as admin
      from login
)
select 'warning' as level, format('login %I', holds.rolname) as object,
       said.detail || case when via.rolname <> holds.rolname then format('; it has that by the role %I', via.rolname) else '' end
           as detail,
       format('create role %1$s login password ''...''; grant jobforge_%1$s to %1$s; revoke jobforge_%1$s from %2$I%3$s;',
              said.role, via.rolname, ' granted by ' || quote_ident(via.giver)) as remedy
  from holds
 cross join lateral (values
       (app and worker, 'worker', 'it is in jobforge_app and jobforge_worker: SQL injection in the web application could'
                                  ' claim, read and complete the jobs of all tenants'),
       (app and admin, 'admin', 'it is in jobforge_app and jobforge_admin: SQL injection in the web application could'
                                ' become the admin, and read the jobs of all tenants'),
       (worker and admin and not app, 'admin', 'it is in jobforge_worker and jobforge_admin: a handler that runs foreign SQL'
                                               ' could read the jobs of all tenants, not only those it has claimed')
       ) said(applies, role, detail)
 cross join lateral (  -- whom the role was granted to: the login, or a group that it is in
       select g.rolname, giver.rolname as giver
         from pg_auth_members m
         join pg_roles r on r.oid = m.roleid and r.rolname = 'jobforge_' || said.role
         join pg_roles g on g.oid = m.member
         left join pg_roles giver on giver.oid = m.grantor and giver.oid <> 10  -- the first superuser's needs no word
        where pg_has_role(holds.oid, g.oid, 'member')  -- and not the ADMIN OPTION alone that a creator has
          and coalesce((to_jsonb(m) ->> 'inherit_option')::boolean or (to_jsonb(m) ->> 'set_option')::boolean, true)
        order by g.oid = holds.oid desc, g.rolname
        limit 1) via
 where said.applies;
