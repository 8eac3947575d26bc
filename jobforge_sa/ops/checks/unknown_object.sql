-- Everything that our revisions make says what it is for. What says nothing was made by hand, in a schema that is theirs
-- alone: nobody reviewed who may reach it, and the next revision may stumble over it.
with made as (
    select c.oid, 'pg_class'::regclass as catalog,
           case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence'
                          when 'f' then 'foreign table' else 'table' end as kind, c.oid::regclass::text as object
      from pg_class c
     where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')
       and c.relname <> 'alembic_version'  -- made by Alembic, which says nothing
    union all
    select p.oid, 'pg_proc'::regclass,
           case p.prokind when 'p' then 'procedure' when 'a' then 'aggregate' else 'function' end, p.oid::regprocedure::text
      from pg_proc p where p.pronamespace = to_regnamespace('jobforge')
    union all
    select t.oid, 'pg_type'::regclass, 'type', format_type(t.oid, null)
      from pg_type t
     where t.typnamespace = to_regnamespace('jobforge')
       and (t.typtype in ('d', 'e', 'r')
            or t.typtype = 'c' and exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
)
select 'warning' as level, m.kind || ' ' || m.object as object, 'it has no comment: it came with none of our revisions' as detail,
       format('drop %s %s;', m.kind, m.object) as remedy
  from made m
 where obj_description(m.oid, m.catalog::text) is null;
