-- The owner of an object may change, open and replace it. In this schema only jobforge_owner, as whom nobody logs in,
-- may do that; a function of somebody else's that looks like ours is his to rewrite.
with owned as (
    select 'schema' as kind, n.nspname::text as object, n.nspowner as owner
      from pg_namespace n where n.nspname = 'jobforge'
    union all
    select case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
                          when 'f' then 'foreign table' else 'table' end, c.oid::regclass::text, c.relowner
      from pg_class c where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
    union all
    select case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end,
           p.oid::regprocedure::text, p.proowner
      from pg_proc p where p.pronamespace = to_regnamespace('jobforge')
    union all
    select 'type', format_type(t.oid, null), t.typowner
      from pg_type t
     where t.typnamespace = to_regnamespace('jobforge')
       and (t.typtype in ('d', 'e', 'r')
            or t.typtype = 'c' and exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
)
select 'error' as level, o.kind || ' ' || o.object as object,
       'it belongs to ' || coalesce(r.rolname, o.owner::text) as detail,
       format('alter %s %s owner to jobforge_owner;', o.kind, o.object) as remedy
  from owned o
  left join pg_roles r on r.oid = o.owner
 where r.rolname is distinct from 'jobforge_owner';
