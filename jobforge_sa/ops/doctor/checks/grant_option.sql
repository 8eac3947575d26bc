-- Who holds a right WITH GRANT OPTION gives it to anybody, out of reach of the migrations: a compromised application
-- could open the queue to logins of its own choice.
with held as (
    select 'schema' as kind, n.nspname::text as object, n.nspowner as owner, h.grantee, h.privilege_type as privilege,
           h.is_grantable
      from pg_namespace n cross join lateral aclexplode(n.nspacl) h
     where n.nspname = 'jobforge'
    union all
    select 'table', c.oid::regclass::text, c.relowner, h.grantee, h.privilege_type, h.is_grantable
      from pg_class c cross join lateral aclexplode(c.relacl) h
     where c.relnamespace = to_regnamespace('jobforge')
    union all
    select 'table', c.oid::regclass::text, c.relowner, h.grantee, format('%s (%I)', h.privilege_type, a.attname),
           h.is_grantable
      from pg_class c join pg_attribute a on a.attrelid = c.oid cross join lateral aclexplode(a.attacl) h
     where c.relnamespace = to_regnamespace('jobforge')
    union all
    select case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regprocedure::text, p.proowner,
           h.grantee, h.privilege_type, h.is_grantable
      from pg_proc p cross join lateral aclexplode(p.proacl) h
     where p.pronamespace = to_regnamespace('jobforge')
), holder as (
    select h.kind, h.object, r.rolname as name, string_agg(h.privilege, ', ' order by h.privilege) as privileges
      from held h
      join pg_roles r on r.oid = h.grantee
     where h.is_grantable and h.grantee <> h.owner
       and r.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
     group by h.kind, h.object, r.rolname
), alike as (
    select kind, name, privileges, array_agg(object order by object) as objects from holder group by kind, name, privileges
)
select 'error' as level,
       case cardinality(objects) when 1 then kind || ' ' || objects[1]
            else format('%s %ss: %s%s', cardinality(objects), kind, array_to_string(objects[:3], ', '),
                        case when cardinality(objects) > 3 then ', ...' else '' end) end as object,
       format('%I may pass on %s', name, privileges) as detail,
       case when cardinality(objects) < 4 or privileges ~ '\('
            then (select string_agg(format('revoke grant option for %s on %s %s from %I cascade;', privileges, kind, one, name),
                                    ' ' order by one) from unnest(objects) one)
            else format('revoke grant option for %s on all %ss in schema jobforge from %I cascade;', privileges, kind, name) end
           as remedy
  from alike;
