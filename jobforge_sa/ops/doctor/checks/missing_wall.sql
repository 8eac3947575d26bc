-- Permissive policies are alternatives: one more of them, "using (true)", opens the table to every tenant. A restrictive
-- policy holds whatever is added; a table that the application reaches and that has none is one mistake from open.
select 'error' as level, c.oid::regclass::text as object,
       'jobforge_app reaches it, and no restrictive policy holds it to its tenant' as detail,
       format('drop policy if exists %1$I on %2$s; create policy %1$I on %2$s as restrictive to jobforge_app'
              ' using (tenant_id = (select jobforge.current_tenant()))'
              ' with check (tenant_id = (select jobforge.current_tenant()));', c.relname || '_wall', c.oid::regclass) as remedy
  from pg_class c
  join pg_roles app on app.rolname = 'jobforge_app'
 where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p')
   and (has_table_privilege(app.oid, c.oid, 'select, insert, update, delete')
        or has_any_column_privilege(app.oid, c.oid, 'select, insert, update'))
   and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id')
   and not exists (
       select from pg_policy p
        where p.polrelid = c.oid and not p.polpermissive and p.polcmd = '*' and app.oid = any (p.polroles)
          and pg_get_expr(p.polqual, p.polrelid) ~ 'tenant_id = .*current_tenant\(\)');
