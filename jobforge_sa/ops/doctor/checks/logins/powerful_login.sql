-- Rights of the whole server that no policy knows: a copy by replication holds all tables, as a replica no trigger and no
-- foreign key holds, statistics show the statements of others, and a signal ends their work. Who watches the server may
-- have some of that, a login of the application or of workers none.
with login as (
    select r.oid, r.rolname, r.rolreplication, bool_or(ours.rolname <> 'jobforge_admin') as serves
      from pg_roles r
      join pg_roles ours on ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
       and pg_has_role(r.oid, ours.oid, case when current_setting('server_version_num')::int >= 160000
                                             then 'usage, set' else 'member' end)
     where r.rolcanlogin and not r.rolsuper and has_database_privilege(r.oid, current_database(), 'connect')
     group by r.oid, r.rolname, r.rolreplication
), power as (
    select login.rolname, 'has REPLICATION' as name, format('alter role %I noreplication;', login.rolname) as remedy
      from login where login.rolreplication
    union all
    select login.rolname, 'is in ' || broad.rolname,
           format('revoke %I from %I%s;', broad.rolname, holder.rolname, ' granted by ' || quote_ident(giver.rolname))
      from login
      join pg_roles holder on holder.rolname !~ '^pg_' and pg_has_role(login.oid, holder.oid, 'member')
      join pg_auth_members m on m.member = holder.oid
      join pg_roles broad on broad.oid = m.roleid
      left join pg_roles giver on giver.oid = m.grantor and giver.oid <> 10  -- the first superuser's are found without
     where broad.rolname in ('pg_maintain', 'pg_create_subscription', 'pg_checkpoint')
        or login.serves and broad.rolname in ('pg_monitor', 'pg_read_all_stats', 'pg_read_all_settings',
                                              'pg_stat_scan_tables', 'pg_signal_backend')
    union all
    select login.rolname, 'may set ' || a.parname,
           format('revoke all on parameter %I from %s;', a.parname, coalesce(quote_ident(holder.rolname), 'public'))
      from login
      join pg_parameter_acl a on a.parname in ('session_replication_role', 'session_preload_libraries',
                                               'dynamic_library_path', 'allow_system_table_mods')
     cross join lateral aclexplode(a.paracl) held
      left join pg_roles holder on holder.oid = held.grantee
     where held.grantee = 0 or pg_has_role(login.oid, held.grantee, 'member')
)
select 'warning' as level, format('login %I', rolname) as object,
       'it ' || string_agg(distinct name, ', ' order by name) as detail,
       string_agg(distinct remedy, ' ' order by remedy) as remedy
  from power
 group by rolname;
