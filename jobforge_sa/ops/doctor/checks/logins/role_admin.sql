-- Who has ADMIN OPTION on a role of ours gives it to whom he likes, himself included: an application's login that was
-- taken over becomes a worker or an administrator, or opens the queue to a login that nobody watches.
select 'warning' as level, format('login %I', login.rolname) as object,
       format('it may grant %s to anybody', string_agg(distinct ours.rolname, ', ')) as detail,
       string_agg(distinct format('revoke admin option for %I from %I%s cascade;', ours.rolname, g.rolname,
                                  ' granted by ' || quote_ident(giver.rolname)), ' ') as remedy
  from pg_roles login
  join pg_roles ours on ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
  join pg_auth_members m on m.roleid = ours.oid and m.admin_option
  join pg_roles g on g.oid = m.member and pg_has_role(login.oid, g.oid, 'member')
  left join pg_roles giver on giver.oid = m.grantor and giver.oid <> 10  -- what the first superuser granted needs no word
 where login.rolcanlogin and not login.rolsuper and has_database_privilege(login.oid, current_database(), 'connect')
   and not exists (select from pg_roles owner  -- who migrates has made the roles; owner_login tells of him
                    where owner.rolname = 'jobforge_owner' and pg_has_role(login.oid, owner.oid, 'member'))
 group by login.rolname;
