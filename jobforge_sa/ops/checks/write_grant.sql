-- Only functions write. With INSERT, UPDATE or DELETE a job moves past their checks; with TRIGGER the holder's own code
-- runs as jobforge_owner at the next enqueue; TRUNCATE asks no policy; REFERENCES tells which rows exist.
with held as (
    select c.oid, c.relowner, h.grantee, h.privilege_type as privilege
      from pg_class c cross join lateral aclexplode(c.relacl) h
     where c.relnamespace = to_regnamespace('jobforge') and h.privilege_type <> 'SELECT'
    union all
    select c.oid, c.relowner, h.grantee, format('%s (%I)', h.privilege_type, a.attname)
      from pg_class c join pg_attribute a on a.attrelid = c.oid cross join lateral aclexplode(a.attacl) h
     where c.relnamespace = to_regnamespace('jobforge') and h.privilege_type <> 'SELECT'
)
select 'error' as level, h.oid::regclass::text as object,
       format('%I holds %s', r.rolname, string_agg(h.privilege, ', ' order by h.privilege)) as detail,
       format('revoke %s on %s from %I;', string_agg(h.privilege, ', ' order by h.privilege), h.oid::regclass, r.rolname)
           as remedy
  from held h
  join pg_roles r on r.oid = h.grantee
 where h.grantee <> h.relowner and r.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
 group by h.oid, r.rolname;
