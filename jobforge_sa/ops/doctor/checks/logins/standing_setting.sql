-- Settings that a login or a database comes with change what the same SQL does: with row_security off each read is an
-- error, as a replica no foreign key holds, read-only nothing is enqueued, as another role its rights are that one's, and
-- after less than 5 s a claim of a busy queue is broken off; and a search_path in which pg_catalog is not first lets
-- functions of others stand in for set_config() and current_setting(), to which tenants and tokens are told.
with standing as (
    select r.rolname, d.datname, setting, split_part(setting, '=', 1) as name, substr(setting, strpos(setting, '=') + 1) as value
      from pg_db_role_setting s
     cross join lateral unnest(s.setconfig) setting
      left join pg_roles r on r.oid = s.setrole
      left join pg_database d on d.oid = s.setdatabase
     where (s.setdatabase = 0 or d.datname = current_database())
       and setting !~ '^(jobforge\.tenant_\w+|request\.jwt\.claims)='  -- told by standing_tenant
       and (r.rolname is null
            or has_database_privilege(r.oid, current_database(), 'connect') and not r.rolsuper
               and exists (select from pg_roles ours
                            where ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
                              and pg_has_role(r.oid, ours.oid, 'member')))
), judged as (
    select *, case when setting ~* '^(row_security=(of|f|n|0)|session_replication_role=(r|l))'
                     or setting ~* '^default_transaction_read_only=(on|t|y|1)'
                     or setting ~ '^search_path=.+\mpg_catalog\M' or name = 'role' and value <> 'none' then 'warning'
                   when name <> 'statement_timeout' or value !~ '^[\d.]*[1-9][\d.]*\s*(us|ms|s)?$' then 'note'
                   when concat(value, case when value ~ '\d$' then 'ms' end)::interval < '5 s' then 'warning'
                   else 'note' end as level
      from standing
)
select level, concat_ws(' in ', 'role ' || quote_ident(rolname), 'database ' || quote_ident(datname)) as object,
       'it comes with ' || string_agg(setting, ', ' order by setting) as detail,
       string_agg(format('alter %s reset %s;',
                         case when rolname is null then format('database %I', datname)
                              else concat_ws(' in database ', format('role %I', rolname), quote_ident(datname)) end, name),
                  ' ' order by setting) as remedy
  from judged
 group by level, rolname, datname;
