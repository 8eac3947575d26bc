-- A role of ours that is a member of another one hands that one's rights to all its members: an application login could
-- claim, administrate, or own.
select 'error' as level, 'role ' || member.rolname as object, 'it is a member of ' || r.rolname as detail,
       format('revoke %I from %I;', r.rolname, member.rolname) as remedy
  from pg_auth_members m
  join pg_roles member on member.oid = m.member
  join pg_roles r on r.oid = m.roleid
 where member.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
 group by member.rolname, r.rolname;  -- one for each grantor
