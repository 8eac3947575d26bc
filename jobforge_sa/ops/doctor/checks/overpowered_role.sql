-- Each member of one of our roles may become it, with what it can: a role that is superuser or bypasses row level security
-- makes every application login one that no policy binds.
select case when r.rolsuper or r.rolbypassrls or r.rolcreaterole then 'error' else 'warning' end as level,
       'role ' || r.rolname as object,
       'it has ' || array_to_string(powers.names, ', ') as detail,
       format('alter role %I %s;', r.rolname, (select string_agg('no' || name, ' ') from unnest(powers.names) name)) as remedy
  from pg_roles r
 cross join lateral (select array_remove(array[
           case when r.rolcanlogin then 'login' end, case when r.rolsuper then 'superuser' end,
           case when r.rolbypassrls then 'bypassrls' end, case when r.rolcreaterole then 'createrole' end,
           case when r.rolcreatedb then 'createdb' end, case when r.rolreplication then 'replication' end], null) as names
       ) powers
 where r.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin') and powers.names <> '{}';
