-- A policy that compares with anything but the tenant of the transaction, or that has a way around the comparison
-- (OR, NOT, IS NULL, COALESCE, CASE), shows a tenant the rows of others, above all to connections that forgot to set one.
select 'error' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       'it lets through what this says: ' || expression as detail,
       format('alter policy %I on %s %s (tenant_id = (select jobforge.current_tenant()));',
              p.polname, p.polrelid::regclass, clause) as remedy
  from pg_policy p
  join pg_class c on c.oid = p.polrelid and c.relnamespace = to_regnamespace('jobforge')
 cross join lateral (values ('using', pg_get_expr(p.polqual, p.polrelid)),
                            ('with check', pg_get_expr(p.polwithcheck, p.polrelid))) part(clause, expression)
 where p.polroles && array(select r.oid from pg_roles r where r.rolname in ('jobforge_app', 'jobforge_worker'))
   and (expression !~ 'tenant_id = .*current_tenant\(\)'
        or expression ~* '\m(or|not|coalesce|case|is null)\M');
