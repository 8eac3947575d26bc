-- As jobforge_owner run only SQL and plpgsql, whose bodies the catalog shows and our checks read. What C or an untrusted
-- language does cannot be seen here, and it is not held to the database.
select 'error' as level, p.oid::regprocedure::text as object,
       format('it is SECURITY DEFINER and written in %s', l.lanname) as detail,
       format('alter function %s security invoker;', p.oid::regprocedure) as remedy
  from pg_proc p
  join pg_language l on l.oid = p.prolang and l.lanname not in ('sql', 'plpgsql')
 where p.pronamespace = to_regnamespace('jobforge') and p.prosecdef;
