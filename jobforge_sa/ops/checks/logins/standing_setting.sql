-- Settings that a login or a database comes with change what the same SQL does: with row_security off each read is an
-- error, as a replica no foreign key holds, read-only nothing is enqueued; and a search_path in which pg_catalog is not
-- first lets functions of others stand in for set_config() and current_setting(), to which tenants and tokens are told.
select 'warning' as level,
       concat_ws(' in ', 'role ' || quote_ident(r.rolname), 'database ' || quote_ident(d.datname)) as object,
       'it comes with ' || setting as detail,
       format('alter %s reset %s;',
              case when r.rolname is null then format('database %I', d.datname)
                   else concat_ws(' in database ', format('role %I', r.rolname), quote_ident(d.datname)) end,
              split_part(setting, '=', 1)) as remedy
  from pg_db_role_setting s
 cross join lateral unnest(s.setconfig) setting
  left join pg_roles r on r.oid = s.setrole
  left join pg_database d on d.oid = s.setdatabase
 where (setting ~* '^(row_security=(of|f|n|0)|session_replication_role=(r|l)|default_transaction_read_only=(on|t|y|1))'
        or setting ~ '^search_path=.+\mpg_catalog\M')
   and (s.setdatabase = 0 or d.datname = current_database())
   and (r.rolname is null
        or has_database_privilege(r.oid, current_database(), 'connect') and not r.rolsuper
           and exists (select from pg_roles ours
                        where ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
                          and pg_has_role(r.oid, ours.oid, 'member')));
