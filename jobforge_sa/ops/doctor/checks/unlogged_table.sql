-- A crash of the server empties an unlogged table: whoever can make it crash makes jobs disappear, and with them the
-- record of what was done.
select 'error' as level, c.oid::regclass::text as object, 'it is unlogged' as detail,
       format('alter table %s set logged;', c.oid::regclass) as remedy
  from pg_class c
 where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p') and c.relpersistence = 'u';
