-- pg_read_all_data passes over grants on columns, but not over policies. A login that has it beside a role of ours reads
-- the lease tokens of all that it is shown, and a token is the right to end that run.
select 'warning' as level, 'login ' || quote_ident(login.rolname) as object,
       format('it is in pg_read_all_data and in %s: it may read lease tokens',
              string_agg(ours.rolname, ', ' order by ours.rolname)) as detail,
       format('revoke pg_read_all_data from %I;', login.rolname) as remedy
  from pg_roles login
  join pg_roles broad on broad.rolname = 'pg_read_all_data'
  join pg_roles ours on ours.rolname in ('jobforge_app', 'jobforge_admin')
 where login.rolcanlogin and not login.rolsuper
   and pg_has_role(login.oid, broad.oid, 'usage') and pg_has_role(login.oid, ours.oid, 'usage')
 group by login.rolname;
