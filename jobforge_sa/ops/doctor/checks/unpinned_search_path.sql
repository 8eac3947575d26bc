-- A function that resolves names along the caller's search_path can be made to call the caller's own functions: one that
-- is SECURITY DEFINER does so as jobforge_owner. An empty path is no cure, pg_temp is then searched first for types.
select case when p.prosecdef then 'error' else 'warning' end as level, p.oid::regprocedure::text as object,
       coalesce((select 'it has ' || setting from unnest(p.proconfig) setting where setting like 'search_path=%'),
                'it has the caller''s search_path') as detail,
       format('alter %s %s set search_path = pg_catalog, pg_temp;',
              case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regprocedure) as remedy
  from pg_proc p
 where p.pronamespace = to_regnamespace('jobforge') and p.prokind <> 'a'
   and 'search_path=pg_catalog, pg_temp' <> all (coalesce(p.proconfig, '{}'));
