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
)
select 'error' as level, h.kind || ' ' || h.object as object,
       format('%I may pass on %s', r.rolname, string_agg(h.privilege, ', ' order by h.privilege)) as detail,
       format('revoke grant option for %s on %s %s from %I cascade;', string_agg(h.privilege, ', ' order by h.privilege),
              h.kind, h.object, r.rolname) as remedy
  from held h
  join pg_roles r on r.oid = h.grantee
 where h.is_grantable and h.grantee <> h.owner
   and r.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
 group by h.kind, h.object, r.rolname;
