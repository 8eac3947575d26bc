-- A policy that is anything but the comparison with the tenant of the transaction has a way around it, or may have one:
-- it shows a tenant the rows of others, above all to connections that forgot to set one.
select 'error' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       'it lets through what this says: ' || expression as detail,
       format('alter policy %I on %s %s (tenant_id = (select jobforge.current_tenant()));',
              p.polname, p.polrelid::regclass, clause) as remedy
  from pg_policy p
  join pg_class c on c.oid = p.polrelid and c.relnamespace = to_regnamespace('jobforge')
 cross join lateral (values ('using', pg_get_expr(p.polqual, p.polrelid)),
                            ('with check', pg_get_expr(p.polwithcheck, p.polrelid))) part(clause, expression)
 where p.polroles && array(select r.oid from pg_roles r where r.rolname in ('jobforge_app', 'jobforge_worker'))
   and expression not in ('(tenant_id = ( SELECT jobforge.current_tenant() AS current_tenant))',
                          '(tenant_id = jobforge.current_tenant())');  -- slow, see unwrapped_tenant_call
