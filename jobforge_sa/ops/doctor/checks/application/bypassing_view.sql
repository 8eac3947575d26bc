-- A view asks the policies of its owner, unless it is security_invoker. Where none binds him, or he owns the table and it
-- is not forced, a view over tables that ask for the tenant shows all tenants; a materialized one holds what he saw.
with recursive above(oid, bare) as (  -- and whether row level security of that table does not hold for its owner
    select c.oid, case when not (c.relrowsecurity and c.relforcerowsecurity) then c.relowner end
      from pg_class c
     where c.relkind in ('r', 'p') and c.relnamespace is distinct from to_regnamespace('jobforge')
       and exists (select from pg_policy p
                    where p.polrelid = c.oid
                      and concat(pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)) ~ '\mcurrent_tenant\(')
    union
    select w.ev_class, a.bare
      from above a
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite w on w.oid = d.objid
)
select 'warning' as level,
       case c.relkind when 'v' then 'view ' else 'materialized view ' end || c.oid::regclass as object,
       'it reads tables that ask for the tenant as ' || quote_ident(o.rolname)
           || case when o.rolsuper then ', a superuser' when o.rolbypassrls then ', who has BYPASSRLS'
                   when c.relkind = 'v' then ', who owns them' else '' end as detail,
       case c.relkind when 'v' then format('alter view %s set (security_invoker = true);', c.oid::regclass)
                      else format('drop materialized view %s;', c.oid::regclass) end as remedy
  from above
  join pg_class c on c.oid = above.oid and c.relkind in ('v', 'm')
  join pg_roles o on o.oid = c.relowner
 where (c.relkind = 'm' or o.rolsuper or o.rolbypassrls or o.oid = above.bare)
   and not coalesce(c.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=yes',
                                          'security_invoker=1'], false)
   and (exists (select from aclexplode(c.relacl) held where held.grantee <> c.relowner)
        or exists (select from pg_attribute a cross join lateral aclexplode(a.attacl) held
                    where a.attrelid = c.oid and held.grantee <> c.relowner))
 group by c.oid, c.relkind, o.rolname, o.rolsuper, o.rolbypassrls;
