-- A SECURITY DEFINER function in another schema has the rights of its owner. Where no policy binds him, or he may claim
-- or administrate, it does with the jobs of all tenants what its body says, for whoever may call it; where grants do not
-- bind him, it may read the tokens of those leases that he is shown.
with ours as (  -- what the application does not reach as itself, or reaches behind policies
    select c.relname as name from pg_class c
     where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p', 'v', 'm')
    union all
    select p.proname from pg_proc p join pg_roles app on app.rolname = 'jobforge_app'
     where p.pronamespace = to_regnamespace('jobforge') and not has_function_privilege(app.oid, p.oid, 'execute')
), definer as (
    select p.oid, p.prokind, o.rolname as owner,
           regexp_replace(coalesce(pg_get_function_sqlbody(p.oid), p.prosrc), '--[^\n''"]*(\n|$)', '', 'g') as body,
           exists (select from unnest(p.proconfig) s where s ~ '^search_path=.*\mjobforge\M') as inside
      from pg_proc p
      join pg_roles o on o.oid = p.proowner and o.rolname <> 'jobforge_owner'  -- told by stray_object
     where p.prosecdef and p.pronamespace is distinct from to_regnamespace('jobforge')
       and (o.rolsuper or o.rolbypassrls
            or exists (select from pg_roles r
                        where r.rolname in ('jobforge_worker', 'jobforge_admin', 'pg_read_all_data', 'pg_write_all_data')
                          and pg_has_role(o.oid, r.oid, 'usage')))
       and exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) h where h.grantee <> p.proowner)
)
select case when d.body ~* '\m(current_tenant|require_tenant)\M' then 'note' else 'error' end as level,
       case d.prokind when 'p' then 'procedure ' else 'function ' end || d.oid::regprocedure as object,
       format('as %I it uses %s%s', d.owner, string_agg(distinct 'jobforge.' || ours.name, ', '),
              case when d.body ~* '\m(current_tenant|require_tenant)\M' then ', and asks for the tenant itself' end) as detail,
       format('alter %s %s security invoker;', case d.prokind when 'p' then 'procedure' else 'function' end, d.oid::regprocedure)
           as remedy
  from definer d
  join ours on d.body ~* ('\mjobforge"?\s*\.\s*"?' || ours.name || '\M') or d.inside and d.body ~* ('\m' || ours.name || '\M')
 group by d.oid, d.prokind, d.owner, d.body;
