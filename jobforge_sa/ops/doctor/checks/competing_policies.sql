-- Two permissive policies for one role are alternatives, and the more generous one decides: a narrow policy that stands
-- beside a wide one narrows nothing.
select 'warning' as level, one.polrelid::regclass::text as object,
       format('%I and %I are alternatives for %s', one.polname, other.polname, r.rolname) as detail,
       format('drop policy %I on %s;', other.polname, one.polrelid::regclass) as remedy
  from pg_policy one
  join pg_class c on c.oid = one.polrelid and c.relnamespace = to_regnamespace('jobforge')
  join pg_policy other on other.polrelid = one.polrelid and other.oid > one.oid and other.polpermissive
       and (other.polcmd = one.polcmd or '*' in (other.polcmd, one.polcmd))
  join pg_roles r on r.oid = any (one.polroles) and r.oid = any (other.polroles)
 where one.polpermissive;
