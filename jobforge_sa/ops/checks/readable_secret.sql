-- A lease's token is the right to end that run, and a tenant key the right to be any tenant. Who reads one completes
-- other people's jobs, or signs a tenant of his choice.
select 'error' as level, format('%s.%I', c.oid::regclass, a.attname) as object,
       'may be read by ' || string_agg(r.rolname, ', ' order by r.rolname) as detail,
       format('revoke select on %1$s from %2$s; revoke select (%3$I) on %1$s from %2$s;', c.oid::regclass,
              string_agg(quote_ident(r.rolname), ', ' order by r.rolname), a.attname) as remedy
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_roles r on r.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
 where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p', 'v', 'm', 'f')
   and (a.attname ~ '(^|_)(token|secret)s?$' or c.relname = 'tenant_keys')
   and has_column_privilege(r.oid, c.oid, a.attnum, 'select')
 group by c.oid, a.attname;
