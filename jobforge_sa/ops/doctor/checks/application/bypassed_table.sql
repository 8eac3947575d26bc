-- A policy is asked where row level security is on, and of the table's owner where it is forced. Without that, a table
-- whose policies ask for the tenant looks kept apart and shows all rows: to everybody, or to whoever acts as its owner.
select 'warning' as level, 'table ' || c.oid::regclass as object,
       case when c.relrowsecurity then format('its policies ask for the tenant, and do not hold for %I, who owns it', o.rolname)
            else 'its policies ask for the tenant, and row level security is off' end as detail,
       format('alter table %s enable row level security, force row level security;', c.oid::regclass) as remedy
  from pg_class c
  join pg_roles o on o.oid = c.relowner
 where c.relnamespace is distinct from to_regnamespace('jobforge') and not (c.relrowsecurity and c.relforcerowsecurity)
   and exists (select from pg_policy p
                where p.polrelid = c.oid
                  and concat(pg_get_expr(p.polqual, c.oid), pg_get_expr(p.polwithcheck, c.oid)) ~ '\mcurrent_tenant\(');
