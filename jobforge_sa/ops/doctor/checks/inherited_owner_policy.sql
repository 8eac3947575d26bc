-- A login that inherits jobforge_owner, as every migrator does before Postgres 16, falls under the owner's policies. If
-- they do not ask for current_user, it reads and writes all tenants' rows without having asked to become the owner.
select 'warning' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       'it holds for all who inherit jobforge_owner: ' || expression as detail,
       format('alter policy %I on %s %s (current_user = ''jobforge_owner'');', p.polname, p.polrelid::regclass, clause)
           as remedy
  from pg_policy p
  join pg_class c on c.oid = p.polrelid and c.relnamespace = to_regnamespace('jobforge')
 cross join lateral (values ('using', pg_get_expr(p.polqual, p.polrelid)),
                            ('with check', pg_get_expr(p.polwithcheck, p.polrelid))) part(clause, expression)
 where p.polpermissive and to_regrole('jobforge_owner') = any (p.polroles)
   and expression <> '(CURRENT_USER = ''jobforge_owner''::name)';
