-- Grants and policies name four roles. Where one is gone, its rights are gone with it, or stand for whoever is given
-- that name next; what it should be kept from is checked no more.
select 'error' as level, 'role ' || wanted.rolname as object, 'there is no such role' as detail,
       'jobforge migrate' as remedy
  from unnest(array['jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin']) wanted(rolname)
 where to_regnamespace('jobforge') is not null
   and not exists (select from pg_roles r where r.rolname = wanted.rolname);
