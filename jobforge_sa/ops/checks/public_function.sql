-- Postgres lets everybody call a new function unless that is revoked: each login of the cluster that reaches the schema
-- could call this one, the inner functions that ask for no tenant included.
select 'error' as level, p.oid::regprocedure::text as object, 'everybody may call it' as detail,
       format('revoke execute on %s %s from public;',
              case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regprocedure) as remedy
  from pg_proc p
 cross join lateral aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) held
 where p.pronamespace = to_regnamespace('jobforge') and held.grantee = 0;
