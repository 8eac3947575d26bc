-- The operators of an enum are not leakproof, so that under policies its index goes unused: 28 ms against 0.31 ms for one
-- list of jobs. A tenant that lists often enough makes the queue slow for all.
select 'warning' as level, format('%s.%I', c.oid::regclass, a.attname) as object,
       'it is of the enum type ' || format_type(t.oid, null) as detail,
       format('alter table %s alter column %I type text collate "C" using %2$I::text;', c.oid::regclass, a.attname) as remedy
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  join pg_type t on t.oid = a.atttypid and t.typtype = 'e'
 where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p');
