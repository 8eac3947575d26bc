-- No policy is asked by TRUNCATE, which empties all tenants' rows, nor by a trigger: a function of who may TRIGGER runs in
-- the statements of others, with their rights, and under signed tenancy reads their token. GRANT ALL gives both.
with login as (
    select r.oid, may.word as may
      from pg_roles r
     cross join (select case when current_setting('server_version_num')::int >= 160000
                             then 'usage, set' else 'member' end as word) may
     where r.rolcanlogin and not r.rolsuper and has_database_privilege(r.oid, current_database(), 'connect')
       and exists (select from pg_roles ours
                    where ours.rolname in ('jobforge_app', 'jobforge_worker') and pg_has_role(r.oid, ours.oid, may.word))
), held as (
    select c.oid, held.grantee, string_agg(held.privilege_type, ', ' order by held.privilege_type) as rights,
           row_number() over (partition by held.grantee order by c.oid::regclass::text) as place
      from pg_class c
     cross join lateral aclexplode(c.relacl) held
     where c.relkind in ('r', 'p') and c.relrowsecurity and c.relnamespace is distinct from to_regnamespace('jobforge')
       and held.privilege_type in ('TRIGGER', 'TRUNCATE') and held.grantee <> c.relowner
       and exists (select from login where held.grantee = 0 or pg_has_role(login.oid, held.grantee, login.may))
     group by c.oid, held.grantee
)
select case when bool_or(held.rights ~ 'TRIGGER') then 'warning/error' else 'warning' end as level,
       coalesce('role ' || quote_ident(r.rolname), 'PUBLIC') as object,
       concat('it holds ', string_agg(format('%s on %s', held.rights, held.oid::regclass), ', ' order by place)
                               filter (where place <= 3),
              case when count(*) > 3 then format(' and on %s more', count(*) - 3) end) as detail,
       format('revoke trigger, truncate on %s from %s;', string_agg(held.oid::regclass::text, ', ' order by place),
              coalesce(quote_ident(r.rolname), 'public')) as remedy
  from held
  left join pg_roles r on r.oid = held.grantee
 group by r.rolname;
