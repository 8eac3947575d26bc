-- Where tenancy is signed, no setting names a tenant but the token. A policy of the application's that reads the plain
-- setting or the JWT's claims, which any SQL may set, is open to an injection: it names the tenant of its choice.
with pattern as (
    select 'jobforge\.tenant_id|request\.jwt\.claim' as settings,
           'current_setting\(''jobforge\.tenant_id''::text(, (true|false))?\)' as call,
           '(tenant_id = (select jobforge.current_tenant()))' as rule
), policy as (
    select p.polname, p.polrelid, pg_get_expr(p.polqual, p.polrelid) as shows,
           pg_get_expr(p.polwithcheck, p.polrelid) as takes,
           (select min(f.oid::regprocedure::text)
              from pg_depend d
              join pg_proc f on d.refclassid = 'pg_proc'::regclass and f.oid = d.refobjid
             where d.classid = 'pg_policy'::regclass and d.objid = p.oid
               and f.pronamespace is distinct from to_regnamespace('jobforge')
               and coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) ~ pattern.settings) as function
      from pg_policy p cross join pattern
)
select 'error' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       coalesce('it asks ' || p.function || ', which reads a setting that any SQL may set',
                'it reads a setting that any SQL may set: ' || concat_ws(', ', p.shows, p.takes)) as detail,
       format('alter policy %I on %s ', p.polname, p.polrelid::regclass)
           || case when p.function is not null or concat_ws(' ', cured.shows, cured.takes) ~ pattern.settings
                   then concat_ws(' ', case when p.shows is not null then 'using ' || pattern.rule end,
                                  case when p.takes is not null then 'with check ' || pattern.rule end)
                   else concat_ws(' ', 'using (' || cured.shows || ')', 'with check (' || cured.takes || ')') end || ';' as remedy
  from policy p
 cross join pattern
 cross join lateral (select regexp_replace(p.shows, pattern.call, '(select jobforge.current_tenant())', 'g') as shows,
                            regexp_replace(p.takes, pattern.call, '(select jobforge.current_tenant())', 'g') as takes) cured
 where p.function is not null or concat_ws(' ', p.shows, p.takes) ~ pattern.settings;
