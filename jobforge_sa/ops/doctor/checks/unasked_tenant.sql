-- A SECURITY DEFINER function sees all tenants. One that the application may call, and that asks neither for the tenant
-- nor for a lease's token, does for each tenant what its arguments say, to whomever the row belongs.
with found as (
    select p.oid::regprocedure::text as name, count(*) over () as number, row_number() over (order by p.proname) as place
      from pg_proc p
      join pg_roles app on app.rolname = 'jobforge_app'
     where p.pronamespace = to_regnamespace('jobforge') and p.prosecdef and has_function_privilege(app.oid, p.oid, 'execute')
       and not exists (select from aclexplode(p.proacl) h where h.grantee = 0)  -- told by public_function
       and regexp_replace(p.prosrc, '--[^\n]*|/\*.*\*/', '', 'g') !~ '\m(current_tenant|require_tenant|p_lease_token)\M'
       and p.proname not in (
           'schema_version',  -- tells the revision, the same to all
           'tenancy',         -- tells how tenants are named, the same to all
           'artifact_limit',  -- tells a limit, the same to all
           'complete_since',  -- tells how long jobs are kept, the same to all
           'current_tenant')  -- is the question itself
)
select 'error' as level,
       case number when 1 then min(name) else format('%s functions of jobforge', number) end as object,
       concat('jobforge_app may call ', case number when 1 then 'it, and it asks'
                                        else string_agg(name, ', ' order by place) filter (where place <= 3) end,
              case when number > 3 then format(' and %s more', number - 3) end,
              case when number > 1 then ', and they ask' end, ' for no tenant') as detail,
       string_agg(format('revoke execute on function %s from jobforge_app;', name), ' ' order by place) as remedy
  from found
 group by number;
