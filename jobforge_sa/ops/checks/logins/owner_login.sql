-- Who may act as jobforge_owner may switch off every policy and read every lease token. That is for migrations; as the
-- application's login it leaves nothing of what keeps tenants apart from SQL injection.
with login as (
    select r.oid, r.rolname, owner.oid as owner,
           pg_has_role(r.oid, owner.oid, 'member') as member,
           r.rolcreaterole and current_setting('server_version_num')::int < 160000 as grants,
           exists (select from pg_roles o
                    where o.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
                      and pg_has_role(r.oid, o.oid, case when current_setting('server_version_num')::int >= 160000
                                                         then 'usage, set' else 'member' end)) as works
      from pg_roles r
      join pg_roles owner on owner.rolname = 'jobforge_owner'
     where r.rolcanlogin and not r.rolsuper and has_database_privilege(r.oid, current_database(), 'connect')
)
select case when works then 'warning' else 'note' end as level, format('login %I', login.rolname) as object,
       concat(case when member then 'it may act as jobforge_owner'
                   else 'it has CREATEROLE, and before Postgres 16 may grant itself jobforge_owner' end,
              case when via.rolname <> login.rolname then format(' by the role %I', via.rolname) end,
              case when works then ', and it is the login of an application as well'
                   else ': right for migrations, wrong for an application' end) as detail,
       case when not works then 'create role app login password ''...''; grant jobforge_app to app;'
            when member then format('revoke jobforge_owner from %I;', via.rolname)
            else format('alter role %I nocreaterole;', login.rolname) end as remedy
  from login
  left join lateral (
       select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.member
        where m.roleid = login.owner and pg_has_role(login.oid, g.oid, 'member')
        order by g.oid = login.oid desc, g.rolname
        limit 1) via on true
 where member or grants;
