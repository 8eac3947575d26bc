-- Postgres shows rows to a LEAKPROOF function before the policies have hidden them. One that prints, stores or raises its
-- argument shows the values of other tenants to whoever filters by it.
select 'warning' as level, p.oid::regprocedure::text as object,
       format('%s vouches that it leaks nothing, and no extension brought it', r.rolname) as detail,
       format('alter function %s not leakproof;', p.oid::regprocedure) as remedy
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace and n.nspname not in ('pg_catalog', 'information_schema')
  left join pg_roles r on r.oid = p.proowner
 where p.proleakproof
   and not exists (select from pg_depend d
                    where d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e');
