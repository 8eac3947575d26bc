-- What has no tenant_id cannot be kept apart by tenant: every tenant that reads this table reads all of it.
select 'error' as level, c.oid::regclass::text as object,
       'jobforge_app reaches it, and it has no column tenant_id' as detail,
       format('revoke all on %s from jobforge_app;', c.oid::regclass) as remedy
  from pg_class c
  join pg_roles app on app.rolname = 'jobforge_app'
 where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p')
   and (has_table_privilege(app.oid, c.oid, 'select, insert, update, delete')
        or has_any_column_privilege(app.oid, c.oid, 'select, insert, update'))
   and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped);
