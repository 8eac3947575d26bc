-- A SECURITY DEFINER function sees all tenants. One that the application may call, and that asks neither for the tenant
-- nor for a lease's token, does for each tenant what its arguments say, to whomever the row belongs.
select 'error' as level, p.oid::regprocedure::text as object,
       'jobforge_app may call it, and it asks for no tenant' as detail,
       format('revoke execute on function %s from jobforge_app;', p.oid::regprocedure) as remedy
  from pg_proc p
  join pg_roles app on app.rolname = 'jobforge_app'
 where p.pronamespace = to_regnamespace('jobforge') and p.prosecdef and has_function_privilege(app.oid, p.oid, 'execute')
   and regexp_replace(p.prosrc, '--[^\n]*|/\*.*\*/', '', 'g') !~ '\m(current_tenant|require_tenant|p_lease_token)\M'
   and p.proname not in (
       'schema_version',  -- tells the revision, the same to all
       'tenancy',         -- tells how tenants are named, the same to all
       'current_tenant');  -- is the question itself
