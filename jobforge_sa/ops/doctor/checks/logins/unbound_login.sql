-- No policy binds a superuser or a role with BYPASSRLS, and who runs programs or reads and writes files of the server
-- makes himself a superuser. A login like that, to which a role of ours was granted, is an application's: what keeps its
-- tenants apart is only what our functions and views do themselves.
with recursive member as (  -- and not who has made a role, and from Postgres 16 on holds ADMIN OPTION on it alone
    select m.member, m.roleid from pg_auth_members m
     where coalesce((to_jsonb(m) ->> 'inherit_option')::boolean or (to_jsonb(m) ->> 'set_option')::boolean, true)
), reached(login, role) as (  -- as granted: by pg_has_role a superuser has every role
    select m.member, m.roleid from member m
    union
    select r.login, m.roleid from reached r join member m on m.member = r.role
)
select 'warning' as level, format('login %I', login.rolname) as object,
       format('it is in %s, and %s',
              (select string_agg(ours.rolname, ', ' order by ours.rolname)
                 from reached r join pg_roles ours on ours.oid = r.role
                where r.login = login.oid and ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')),
              array_to_string(powers.names, ', ')) as detail,
       concat_ws(' ', case when login.rolsuper then format('alter role %I nosuperuser;', login.rolname) end,
                 case when login.rolbypassrls then format('alter role %I nobypassrls;', login.rolname) end,
                 (select string_agg(format('revoke %I from %I%s;', broad.rolname, holder.rolname,
                                           ' granted by ' || quote_ident(giver.rolname)), ' ')
                    from pg_auth_members m
                    join pg_roles broad on broad.oid = m.roleid and broad.rolname = any (wide.names)
                    join pg_roles holder on holder.oid = m.member
                    left join pg_roles giver on giver.oid = m.grantor and giver.oid <> 10  -- the first superuser's needs no word
                   where holder.oid = login.oid
                      or exists (select from reached r where r.login = login.oid and r.role = holder.oid))) as remedy
  from pg_roles login
 cross join lateral (
       select array(select broad.rolname
                      from reached r join pg_roles broad on broad.oid = r.role
                     where r.login = login.oid
                       and broad.rolname in ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
                     order by broad.rolname) as names) wide
 cross join lateral (
       select array_remove(array[case when login.rolsuper then 'is a superuser' end,
                                 case when login.rolbypassrls then 'has BYPASSRLS' end,
                                 'is in ' || nullif(array_to_string(wide.names, ', '), '')], null) as names) powers
 where login.rolcanlogin and has_database_privilege(login.oid, current_database(), 'connect') and powers.names <> '{}'
   and (login.rolname <> current_user or not (login.rolsuper or login.rolbypassrls))  -- row_security_inactive tells
   and exists (select from reached r join pg_roles ours on ours.oid = r.role
                where r.login = login.oid and ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin'));
