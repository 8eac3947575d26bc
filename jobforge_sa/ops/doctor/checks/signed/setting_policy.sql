-- Where tenancy is signed, whatever else a policy reads from a setting is named by who can run SQL: the tenant under
-- another name, a name put together from parts, an "app.is_admin". The token alone is not his to write.
with policy as (
    select p.polname, p.polrelid, p.polqual is not null as shows, p.polwithcheck is not null as takes,
           array_remove(array[pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)], null) as parts,
           (select min(f.oid::regprocedure::text)
              from pg_depend d
              join pg_proc f on d.refclassid = 'pg_proc'::regclass and f.oid = d.refobjid
             where d.classid = 'pg_policy'::regclass and d.objid = p.oid
               and f.pronamespace is distinct from to_regnamespace('jobforge')
               and coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) ~* '\mcurrent_setting\M'
               and regexp_replace(coalesce(pg_get_function_sqlbody(f.oid), f.prosrc), '--[^\n]*|/\*.*\*/', '', 'g')
                   !~ '\mjobforge\.current_tenant\M') as function,
           exists (select from pg_depend d
                     join pg_proc f on d.refclassid = 'pg_proc'::regclass and f.oid = d.refobjid
                    where d.classid = 'pg_policy'::regclass and d.objid = p.oid
                      and coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) ~ 'jobforge\.tenant_id|request\.jwt\.claim'
                      and f.pronamespace is distinct from to_regnamespace('jobforge')) as told
      from pg_policy p
      join pg_class c on c.oid = p.polrelid and c.relnamespace is distinct from to_regnamespace('jobforge')
     where p.polpermissive
)
select 'warning' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       coalesce('it asks ' || p.function || ', which reads a setting that any SQL may set',
                'it reads a setting that any SQL may set: ' || array_to_string(p.parts, ', ')) as detail,
       format('alter policy %I on %s %s;', p.polname, p.polrelid::regclass,
              concat_ws(' ', case when p.shows then 'using (tenant_id = (select jobforge.current_tenant()))' end,
                        case when p.takes then 'with check (tenant_id = (select jobforge.current_tenant()))' end)) as remedy
  from policy p
 where not p.told and array_to_string(p.parts, ' ') !~ 'jobforge\.tenant_id|request\.jwt\.claim'  -- told by plain_policy
   and exists (select from unnest(p.parts) part
                where (p.function is not null or part ~ '\mcurrent_setting\(|\mauth\.(jwt|uid|role|email)\(')
                      -- beside the tenant a setting narrows only, unless it is an alternative
                  and (part !~ '\mjobforge\.current_tenant\(' or part ~ '\m(OR|CASE|COALESCE|NOT)\M'));
