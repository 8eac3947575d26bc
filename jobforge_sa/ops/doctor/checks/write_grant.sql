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
), holder as (
    select h.oid::regclass::text as object, r.rolname as name, string_agg(h.privilege, ', ' order by h.privilege) as privileges
      from held h
      join pg_roles r on r.oid = h.grantee
     where h.grantee <> h.relowner and r.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
     group by h.oid, r.rolname
), alike as (
    select name, privileges, array_agg(object order by object) as objects from holder group by name, privileges
)
select 'error' as level,
       case cardinality(objects) when 1 then objects[1]
            else format('%s tables: %s%s', cardinality(objects), array_to_string(objects[:3], ', '),
                        case when cardinality(objects) > 3 then ', ...' else '' end) end as object,
       format('%I holds %s', name, privileges) as detail,
       format('revoke %s on %s from %I;', privileges, array_to_string(objects, ', '), name) as remedy
  from alike;
