-- Tenancy is signed against SQL injection, and what an injection leaves in a pooled session meets the next tenant's
-- request there: a temporary table in place of one of the application's, a type or a domain that is asked to check a value.
with login as (
    select r.oid, r.rolname
      from pg_roles r
      join pg_roles app on app.rolname = 'jobforge_app'
     where r.rolcanlogin and not r.rolsuper
       and has_database_privilege(r.oid, current_database(), 'connect')
       and has_database_privilege(r.oid, current_database(), 'temporary')
       and pg_has_role(r.oid, app.oid, case when current_setting('server_version_num')::int >= 160000
                                            then 'usage, set' else 'member' end)
)
select 'warning' as level, format('database %I', d.datname) as object,
       format('the logins of applications may create temporary objects: %s',
              (select string_agg(quote_ident(rolname), ', ' order by rolname) from login)) as detail,
       format('revoke temporary on database %I from %s;', d.datname,
              string_agg(distinct coalesce(quote_ident(r.rolname), 'public'), ', ')) as remedy
  from pg_database d
 cross join lateral aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) held
  left join pg_roles r on r.oid = held.grantee
 where d.datname = current_database() and held.privilege_type = 'TEMPORARY'
   and exists (select from login where held.grantee = 0 or pg_has_role(login.oid, held.grantee, 'usage'))
 group by d.datname;
