-- A right that PUBLIC or a role other than ours holds is one that nobody thinks of when a login is taken away, and that
-- no policy of ours expects. Logins become members of jobforge_app, jobforge_worker or jobforge_admin instead.
with held as (
    select 'schema' as kind, n.nspname::text as object, n.nspowner as owner, h.grantee, h.privilege_type as privilege
      from pg_namespace n cross join lateral aclexplode(n.nspacl) h
     where n.nspname = 'jobforge'
    union all
    select 'table', c.oid::regclass::text, c.relowner, h.grantee, h.privilege_type
      from pg_class c cross join lateral aclexplode(c.relacl) h
     where c.relnamespace = to_regnamespace('jobforge') and c.relkind <> 'S'
    union all
    select 'sequence', c.oid::regclass::text, c.relowner, h.grantee, h.privilege_type
      from pg_class c cross join lateral aclexplode(c.relacl) h
     where c.relnamespace = to_regnamespace('jobforge') and c.relkind = 'S'
    union all
    select 'table', c.oid::regclass::text, c.relowner, h.grantee, format('%s (%I)', h.privilege_type, a.attname)
      from pg_class c join pg_attribute a on a.attrelid = c.oid cross join lateral aclexplode(a.attacl) h
     where c.relnamespace = to_regnamespace('jobforge')
    union all  -- what PUBLIC may call is told by public_function
    select case p.prokind when 'p' then 'procedure' else 'function' end, p.oid::regprocedure::text, p.proowner,
           h.grantee, h.privilege_type
      from pg_proc p cross join lateral aclexplode(p.proacl) h
     where p.pronamespace = to_regnamespace('jobforge') and h.grantee <> 0
    union all
    select 'type', format_type(t.oid, null), t.typowner, h.grantee, h.privilege_type
      from pg_type t cross join lateral aclexplode(coalesce(t.typacl, acldefault('T', t.typowner))) h
     where t.typnamespace = to_regnamespace('jobforge')
       and (t.typtype in ('d', 'e', 'r')
            or t.typtype = 'c' and exists (select from pg_class c where c.oid = t.typrelid and c.relkind = 'c'))
), holder as (
    select h.kind, h.object, coalesce(quote_ident(r.rolname), 'public') as name,
           string_agg(h.privilege, ', ' order by h.privilege) as privileges
      from held h
      left join pg_roles r on r.oid = h.grantee
     where h.grantee <> h.owner
       and (r.rolname is null or r.rolname not in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin'))
       and not (h.kind = 'schema' and h.privilege = 'USAGE'  -- to keep two applications apart, or a migrator's: docs/security.md
                and exists (select from pg_roles ours
                             where ours.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
                               and r.rolcanlogin and pg_has_role(r.oid, ours.oid, 'member')))
     group by h.kind, h.object, r.rolname
), alike as (  -- so much is granted at once that each object by itself would hide all else
    select kind, name, privileges, array_agg(object order by object) as objects from holder group by kind, name, privileges
)
select 'error' as level,
       case cardinality(objects) when 1 then kind || ' ' || objects[1]
            else format('%s %ss: %s%s', cardinality(objects), kind, array_to_string(objects[:3], ', '),
                        case when cardinality(objects) > 3 then ', ...' else '' end) end as object,
       format('%s holds %s', case name when 'public' then 'PUBLIC' else name end, privileges) as detail,
       case when cardinality(objects) < 4 or kind = 'type' or privileges ~ '\('
            then (select string_agg(format('revoke %s on %s %s from %s;', privileges, kind, one, name), ' ' order by one)
                    from unnest(objects) one)
            else format('revoke %s on all %ss in schema jobforge from %s;', privileges, kind, name) end as remedy
  from alike;
