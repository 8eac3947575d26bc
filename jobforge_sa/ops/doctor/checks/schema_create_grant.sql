-- Who may create in the schema puts functions and tables there that look like ours, and waits for somebody to call them.
select 'error' as level, 'schema ' || n.nspname as object, format('%I may create objects in it', r.rolname) as detail,
       format('revoke create on schema %I from %I;', n.nspname, r.rolname) as remedy
  from pg_namespace n
 cross join lateral aclexplode(n.nspacl) held
  join pg_roles r on r.oid = held.grantee
 where n.nspname = 'jobforge' and held.privilege_type = 'CREATE' and held.grantee <> n.nspowner
   and r.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin');
