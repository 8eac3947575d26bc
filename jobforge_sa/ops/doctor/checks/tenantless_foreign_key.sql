-- A foreign key between two tables of tenants that leaves the tenant out accepts a row of one tenant that points to
-- another's: it tells whether that row exists, and hangs something on it.
select 'error' as level, format('constraint %I on %s', f.conname, f.conrelid::regclass) as object,
       format('it refers to %s without the tenant', f.confrelid::regclass) as detail,
       format('alter table %s drop constraint %I;', f.conrelid::regclass, f.conname) as remedy
  from pg_constraint f
  join pg_attribute here on here.attrelid = f.conrelid and here.attname = 'tenant_id'
  join pg_attribute there on there.attrelid = f.confrelid and there.attname = 'tenant_id'
  join pg_class c on c.oid = f.confrelid and c.relnamespace = to_regnamespace('jobforge')
 where f.contype = 'f' and not (here.attnum = any (f.conkey) and there.attnum = any (f.confkey));
