-- pg_read_all_data and pg_write_all_data pass over grants, on columns too, but not over policies. A login that has one
-- beside a role of ours reads the lease tokens of all that it is shown, and a token is the right to end that run.
select 'warning' as level, 'login ' || quote_ident(login.rolname) as object,
       format('it is in %s and in %s: it may %s', broad.rolname, string_agg(ours.rolname, ', ' order by ours.rolname),
              case broad.rolname when 'pg_read_all_data' then 'read lease tokens'
                                 else 'write to each table whose policies allow that' end) as detail,
       (select string_agg(format('revoke %I from %I%s;', broad.rolname, holder.rolname,
                                 ' granted by ' || quote_ident(giver.rolname)), ' ' order by holder.rolname)
          from pg_auth_members m
          join pg_roles holder on holder.oid = m.member and pg_has_role(login.oid, holder.oid, 'member')
          left join pg_roles giver on giver.oid = m.grantor and giver.oid <> 10  -- the first superuser's needs no word
         where m.roleid = broad.oid) as remedy
  from pg_roles login
  join pg_roles broad on broad.rolname in ('pg_read_all_data', 'pg_write_all_data')
  join pg_roles ours on ours.rolname in ('jobforge_app', 'jobforge_admin')
 where login.rolcanlogin and not login.rolsuper
   and pg_has_role(login.oid, broad.oid, 'usage') and pg_has_role(login.oid, ours.oid, 'usage')
 group by login.oid, login.rolname, broad.oid, broad.rolname;
