-- A lease's token is the right to end that run, a tenant key the right to be any tenant, and a connector's secret some
-- other system's. Who reads one completes other people's jobs, signs a tenant of his choice, or calls in its name.
with readable as (
    select c.oid, c.relname, r.oid as reader, r.rolname, a.attnum, a.attname,
           a.attname ~ '(^|_)(token|secret)s?$' or c.relname in ('tenant_keys', 'connector_secrets') as secret,
           exists (select from aclexplode(a.attacl) h where h.grantee = r.oid and h.privilege_type = 'SELECT') as by_name
      from pg_class c
      join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      join pg_roles r on r.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
     where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p', 'v', 'm', 'f')
       and has_column_privilege(r.oid, c.oid, a.attnum, 'select')
), holder as (
    select oid, rolname,
           string_agg(quote_ident(attname), ', ' order by attnum) filter (where secret) as secrets,
           case when has_table_privilege(reader, oid, 'select')  -- to revoke that takes the rights on columns: those come back
                then concat(format('revoke select on %s from %I;', oid::regclass, rolname),
                            ' grant select ('
                                || string_agg(quote_ident(attname), ', ' order by attnum) filter (where by_name and not secret)
                                || format(') on %s to %I;', oid::regclass, rolname))
                else format('revoke select (%s) on %s from %I;', string_agg(quote_ident(attname), ', ' order by attnum)
                                                                 filter (where secret), oid::regclass, rolname) end as remedy
      from readable
     group by oid, reader, rolname
    having bool_or(secret)
)
select 'error' as level, oid::regclass::text as object,
       format('%s may read %s', string_agg(quote_ident(rolname), ', ' order by rolname), secrets) as detail,
       string_agg(remedy, ' ' order by rolname) as remedy
  from holder
 group by oid, secrets;
