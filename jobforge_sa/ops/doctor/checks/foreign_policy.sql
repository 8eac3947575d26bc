-- A policy for everybody, or for a role that is not ours, shows rows to people of whom jobforge knows nothing: other
-- applications in this database, and each login that is created later.
select 'error' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       'it holds for ' || foreigners.names as detail,
       format('drop policy %I on %s;', p.polname, p.polrelid::regclass) as remedy
  from pg_policy p
  join pg_class c on c.oid = p.polrelid and c.relnamespace = to_regnamespace('jobforge')
 cross join lateral (
       select string_agg(coalesce(r.rolname, 'public'), ', ' order by r.rolname) as names
         from unnest(p.polroles) holder left join pg_roles r on r.oid = holder
        where r.rolname is null or r.rolname not in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
       ) foreigners
 where p.polpermissive and foreigners.names is not null;
