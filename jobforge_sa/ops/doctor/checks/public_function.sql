-- Postgres lets everybody call a new function unless that is revoked: each login of the cluster that reaches the schema
-- could call this one, the inner functions that ask for no tenant included.
with found as (
    select p.oid::regprocedure::text as name, count(*) over () as number, row_number() over (order by p.proname) as place
      from pg_proc p
     cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) held
     where p.pronamespace = to_regnamespace('jobforge') and held.grantee = 0
)
select 'error' as level,
       case number when 1 then min(name) else format('%s functions of jobforge', number) end as object,
       concat('everybody may call ', case number when 1 then 'it'
                                     else string_agg(name, ', ' order by place) filter (where place <= 3) end,
              case when number > 3 then format(' and %s more', number - 3) end) as detail,
       format('revoke execute on %s from public;', case number when 1 then 'routine ' || min(name)
                                                               else 'all routines in schema jobforge' end) as remedy
  from found
 group by number;
