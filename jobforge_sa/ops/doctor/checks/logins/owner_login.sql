-- Who may act as jobforge_owner may switch off every policy and read every lease token. That is for migrations; as the
-- application's login it leaves nothing of what keeps tenants apart from SQL injection. From Postgres 16 on a migrator
-- need not inherit the role: it is the owner while it migrates, and sees no tenant's rows by mistake.
with v16 as (select current_setting('server_version_num')::int >= 160000 as now
), login as (
    select r.oid, r.rolname, owner.oid as owner, pg_has_role(r.oid, owner.oid, 'member') as member,
           r.rolcreaterole and not v16.now as grants,
           v16.now and pg_has_role(r.oid, owner.oid, 'usage') as inherits,
           r.rolcreaterole or exists (select from pg_auth_members m
                                       where m.roleid = owner.oid and m.member = r.oid and m.admin_option) as migrates,
           exists (select from pg_roles o
                    where o.rolname in ('jobforge_app', 'jobforge_worker', 'jobforge_admin')
                      and pg_has_role(r.oid, o.oid, case when v16.now then 'usage, set' else 'member' end)) as works
      from pg_roles r
      join pg_roles owner on owner.rolname = 'jobforge_owner'
     cross join v16
     where r.rolcanlogin and not r.rolsuper and has_database_privilege(r.oid, current_database(), 'connect')
), given as (  -- from Postgres 16 on a role may be granted several times, by a creator's own grant as ADMIN OPTION alone
    select m.member, ours.rolname as role, holder.rolname as holder,
           coalesce(' granted by ' || quote_ident(giver.rolname), '') as by,
           coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true) as inherits
      from pg_auth_members m
      join pg_roles ours on ours.oid = m.roleid and ours.rolname ~ '^jobforge_(owner|app|worker|admin)$'
      join pg_roles holder on holder.oid = m.member
      left join pg_roles giver on giver.oid = m.grantor and giver.oid <> 10  -- what the first superuser granted needs no word
     where coalesce((to_jsonb(m) ->> 'inherit_option')::boolean or (to_jsonb(m) ->> 'set_option')::boolean, true)
)
select case when works then 'warning' else 'note' end as level, format('login %I', login.rolname) as object,
       concat(case when member then 'it may act as jobforge_owner'
                   else 'it has CREATEROLE, and before Postgres 16 may grant itself jobforge_owner' end,
              case when via.holder <> login.rolname then format(' by the role %I', via.holder) end,
              case when works then ', and it is the login of an application as well'
                   when member then ', and inherits it: it is the owner all the time' end) as detail,
       case when not member then format('alter role %I nocreaterole;', login.rolname)
            when works and migrates and apps.cure is not null then apps.cure
            when works then via.cure
            else via.lent end as remedy
  from login
  left join lateral (  -- the grants to the nearest: the login itself, or a group that it is in
       select holder, string_agg(format('revoke jobforge_owner from %I%s;', holder, by), ' ') as cure,
              string_agg(format('grant jobforge_owner to %I with inherit false%s;', holder, by), ' ')
              filter (where inherits) as lent
         from given
        where role = 'jobforge_owner' and pg_has_role(login.oid, member, 'member')
        group by holder, member
        order by member = login.oid desc, holder
        limit 1) via on true
 cross join lateral (
       select string_agg(format('revoke %s from %I%s;', roles, holder, by), ' ' order by holder) as cure
         from (select holder, by, string_agg(role, ', ' order by role) as roles from given
                where role <> 'jobforge_owner' and pg_has_role(login.oid, member, 'member')
                group by holder, by) each_one) apps
 where member and (works or inherits) or grants and not member;
