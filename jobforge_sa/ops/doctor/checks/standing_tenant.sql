-- A tenant that is set for a whole role or database is never missing: each transaction that forgot to set its own reads
-- and writes that tenant's jobs, and nobody is told.
select 'warning' as level,
       concat_ws(' in ', 'role ' || quote_ident(r.rolname), 'database ' || quote_ident(d.datname)) as object,
       'it comes with ' || split_part(setting, '=', 1) as detail,
       format('alter %s reset %s;',
              case when r.rolname is null then format('database %I', d.datname)
                   else concat_ws(' in database ', format('role %I', r.rolname), quote_ident(d.datname)) end,
              split_part(setting, '=', 1)) as remedy
  from pg_db_role_setting s
 cross join lateral unnest(s.setconfig) setting
  left join pg_roles r on r.oid = s.setrole
  left join pg_database d on d.oid = s.setdatabase
 where setting ~ '^(jobforge\.tenant_\w+|request\.jwt\.claims)='
   and (s.setdatabase = 0 or d.datname = current_database());
