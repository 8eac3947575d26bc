-- A view that runs with its owner's rights answers from behind the policies, and materialized views and foreign tables
-- know no policies at all: each who reads them reads all tenants.
select 'error' as level, c.oid::regclass::text as object,
       case c.relkind when 'm' then 'a materialized view has no policies'
                      when 'f' then 'the policies of a foreign table are not ours'
                      else 'it reads with the rights of its owner, not of who asks' end as detail,
       case c.relkind when 'm' then format('drop materialized view %s;', c.oid::regclass)
                      when 'f' then format('drop foreign table %s;', c.oid::regclass)
                      else format('alter view %s set (security_invoker = true);', c.oid::regclass) end as remedy
  from pg_class c
 where c.relnamespace = to_regnamespace('jobforge')
   and (c.relkind in ('m', 'f')
        or c.relkind = 'v' and not coalesce(c.reloptions && array['security_invoker=true', 'security_invoker=on',
                                                                  'security_invoker=yes', 'security_invoker=1'], false));
