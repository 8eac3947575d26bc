-- Permissive policies are alternatives: beside one that asks for the tenant, another that does not shows and takes the
-- rows of all tenants, for the logins of the application that it holds for.
with policy as (
    select p.oid, p.polname, p.polrelid, p.polcmd, p.polroles, p.polpermissive,
           array_remove(array[pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)], null) as parts,
           exists (select from pg_depend d  -- a function of the application's that asks
                     join pg_proc f on d.refclassid = 'pg_proc'::regclass and f.oid = d.refobjid
                    where d.classid = 'pg_policy'::regclass and d.objid = p.oid
                      and coalesce(pg_get_function_sqlbody(f.oid), f.prosrc) ~ '\mcurrent_tenant\M') as wrapped
      from pg_policy p
      join pg_class c on c.oid = p.polrelid and c.relnamespace is distinct from to_regnamespace('jobforge')
), judged as (
    select *, wrapped or not exists (select from unnest(parts) part
                                      where part !~ '\mcurrent_tenant\(' and part <> 'false') as asks,
           wrapped or array_to_string(parts, ' ') ~ '\mcurrent_tenant\(' as names
      from policy
), login as (
    select r.oid
      from pg_roles r
     where r.rolcanlogin and not r.rolsuper and has_database_privilege(r.oid, current_database(), 'connect')
       and exists (select from pg_roles ours
                    where ours.rolname in ('jobforge_app', 'jobforge_worker') and pg_has_role(r.oid, ours.oid, 'usage'))
)
select 'warning' as level, format('policy %I on %s', p.polname, p.polrelid::regclass) as object,
       'it does not ask for the tenant, as the others of its table do: ' || array_to_string(p.parts, ', ') as detail,
       format('drop policy %I on %s;', p.polname, p.polrelid::regclass) as remedy
  from judged p
 where p.polpermissive and not p.asks
   and exists (select from judged other where other.polrelid = p.polrelid and other.names)
   and exists (select from login join unnest(p.polroles) holder on holder = 0 or pg_has_role(login.oid, holder, 'usage'))
   and not exists (select from judged wall
                    where wall.polrelid = p.polrelid and not wall.polpermissive and wall.asks
                      and wall.polcmd in ('*', p.polcmd) and (0 = any (wall.polroles) or wall.polroles @> p.polroles));
