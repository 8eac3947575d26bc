-- A view in another schema reads our tables with the rights of its owner. Where no policy binds him, or he is an
-- administrator, each who reads the view reads all tenants; a materialized view holds what he saw, whoever reads it.
with recursive above(oid) as (
    select c.oid from pg_class c where c.relnamespace = to_regnamespace('jobforge')
    union
    select w.ev_class
      from above a
      join pg_depend d on d.refclassid = 'pg_class'::regclass and d.refobjid = a.oid and d.classid = 'pg_rewrite'::regclass
      join pg_rewrite w on w.oid = d.objid
)
select case when exists (select from pg_attribute a cross join lateral aclexplode(a.attacl) held
                          where a.attrelid = c.oid and held.grantee <> c.relowner)
              or exists (select from aclexplode(c.relacl) held where held.grantee <> c.relowner)
            then 'error' else 'note' end as level,
       case c.relkind when 'v' then 'view ' else 'materialized view ' end || c.oid::regclass as object,
       'it reads tables of jobforge as ' || quote_ident(o.rolname)
           || case when o.rolsuper then ', a superuser' when o.rolbypassrls then ', who has BYPASSRLS'
                   when c.relkind = 'v' then ', an administrator' else '' end as detail,
       case c.relkind when 'v' then format('alter view %s set (security_invoker = true);', c.oid::regclass)
                      else format('drop materialized view %s;', c.oid::regclass) end as remedy
  from above
  join pg_class c on c.oid = above.oid and c.relkind in ('v', 'm')
  join pg_roles o on o.oid = c.relowner and o.rolname <> 'jobforge_owner'  -- told by stray_object
 where c.relnamespace is distinct from to_regnamespace('jobforge')
   and (c.relkind = 'm'
        or not coalesce(c.reloptions && array['security_invoker=true', 'security_invoker=on', 'security_invoker=yes',
                                              'security_invoker=1'], false)
           and (o.rolsuper or o.rolbypassrls
                or exists (select from pg_roles r where r.rolname = 'jobforge_admin' and pg_has_role(o.oid, r.oid, 'usage'))));
