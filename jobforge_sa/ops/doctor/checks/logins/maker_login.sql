-- Who owns a table takes its policies away; who may create in a schema that others search, or schemas, plants an operator
-- that their statements meet in place of Postgres's own: an injection then reads and writes as all tenants. A migrator
-- owns and creates; logins that run the application only use.
with database as (
    select d.oid, d.datname, d.datdba, coalesce(d.datacl, acldefault('d', d.datdba)) as acl
      from pg_database d where d.datname = current_database()
), login as (
    select r.oid, r.rolname, may.word as may
      from pg_roles r
     cross join (select case when current_setting('server_version_num')::int >= 160000
                             then 'usage, set' else 'member' end as word) may
     where r.rolcanlogin and not r.rolsuper and has_database_privilege(r.oid, current_database(), 'connect')
       and exists (select from pg_roles ours
                    where ours.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
                      and pg_has_role(r.oid, ours.oid, may.word))
), heir as (  -- who migrates, or else a superuser
    select r.rolname
      from pg_roles r cross join database d
     where r.rolcanlogin and r.oid not in (select oid from login)
       and (r.rolsuper or pg_has_role(r.oid, coalesce(to_regrole('jobforge_owner'), 10), 'member'))
     order by r.rolsuper, r.oid = d.datdba desc, r.rolname
     limit 1
), searched(name) as (  -- in which a login of ours looks for what it calls
    select 'public' union select rolname from login
    union
    select btrim(one, ' "')
      from pg_db_role_setting s
     cross join lateral unnest(s.setconfig) setting
     cross join lateral unnest(string_to_array(substr(setting, 13), ',')) one
     where setting ~ '^search_path=' and (s.setrole = 0 or s.setrole in (select oid from login))
), schema as (
    select n.oid, n.nspname, n.nspowner, n.nspacl
      from pg_namespace n
      join pg_roles o on o.oid = n.nspowner and o.rolname not in ('jobforge_owner', 'pg_database_owner')
     where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'jobforge')
), fault as (
    select login.rolname, 1 as place, 'owns this database' as what,
           format('alter database %I owner to %I; grant connect on database %1$I to %3$I;', d.datname, heir.rolname,
                  login.rolname) as remedy
      from login cross join heir join database d on pg_has_role(login.oid, d.datdba, login.may)
    union all
    select login.rolname, 2, 'may create schemas',
           format('revoke create on database %I from %s;', d.datname, coalesce(quote_ident(holder.rolname), 'public'))
      from login cross join database d cross join lateral aclexplode(d.acl) held
      left join pg_roles holder on holder.oid = held.grantee
     where held.privilege_type = 'CREATE' and held.grantee <> d.datdba
       and (held.grantee = 0 or pg_has_role(login.oid, held.grantee, login.may))
    union all
    select login.rolname, 3, format('owns the schema %I', s.nspname),
           format('alter schema %I owner to %I; grant usage on schema %1$I to %3$I;', s.nspname, heir.rolname, login.rolname)
      from login cross join heir join schema s on pg_has_role(login.oid, s.nspowner, login.may)
    union all
    select login.rolname, 4, format('may create in the schema %I', n.nspname),
           format('revoke create on schema %I from %s;', n.nspname, coalesce(quote_ident(holder.rolname), 'public'))
      from login
      join pg_namespace n on n.nspname in (select name from searched) and n.nspname <> 'jobforge'
     cross join lateral aclexplode(n.nspacl) held
      left join pg_roles holder on holder.oid = held.grantee
     where held.privilege_type = 'CREATE' and held.grantee <> n.nspowner
       and (held.grantee = 0 or pg_has_role(login.oid, held.grantee, login.may))
    union all
    select login.rolname, 5, format('owns the table %s', c.oid::regclass),
           format('alter table %s owner to %I; grant select, insert, update, delete on %1$s to %3$I;', c.oid::regclass,
                  heir.rolname, login.rolname)
      from login cross join heir
      join pg_class c on c.relkind in ('r', 'p') and c.relrowsecurity and pg_has_role(login.oid, c.relowner, login.may)
      join pg_roles o on o.oid = c.relowner and o.rolname <> 'jobforge_owner'
     where c.relnamespace is distinct from to_regnamespace('jobforge')
), counted as (
    select *, row_number() over (partition by rolname order by place, what) as number from fault
)
select 'warning/error' as level, format('login %I', rolname) as object,
       concat('it ', string_agg(what, ', ' order by number) filter (where number <= 4),
              case when count(*) > 4 then format(' and %s more', count(*) - 4) end) as detail,
       string_agg(remedy, ' ' order by number) as remedy
  from counted
 group by rolname;
