-- What jobforge_owner owns outside of its schema has its rights, and stands where other people may create and grant: a
-- function of its that is SECURITY DEFINER reads all tenants for whoever may call it.
with owned as (
    select case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
                          when 'f' then 'foreign table' else 'table' end as kind,
           c.oid::regclass::text as object, c.relnamespace as namespace, c.relkind in ('v', 'm') as dangerous
      from pg_class c where c.relowner = to_regrole('jobforge_owner') and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
    union all
    select case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
           p.oid::regprocedure::text, p.pronamespace, p.prosecdef
      from pg_proc p where p.proowner = to_regrole('jobforge_owner')
)
select case when o.dangerous then 'error' else 'warning' end as level, o.kind || ' ' || o.object as object,
       'it belongs to jobforge_owner and stands outside of its schema' as detail,
       format('alter %s %s owner to %I;', o.kind, o.object, current_user) as remedy
  from owned o
 where o.namespace is distinct from to_regnamespace('jobforge');
