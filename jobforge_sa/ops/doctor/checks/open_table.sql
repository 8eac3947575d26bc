-- Without row level security a table shows all tenants' rows to whoever may read it; where it is not forced, it shows
-- them to whoever is the owner. Only the application's own filters keep tenants apart then.
select 'error' as level, c.oid::regclass::text as object,
       case when c.relrowsecurity then 'row level security is not forced' else 'row level security is off' end as detail,
       format('alter table %1$s enable row level security; alter table %1$s force row level security;', c.oid::regclass)
           as remedy
  from pg_class c
 where c.relnamespace = to_regnamespace('jobforge') and c.relkind in ('r', 'p')
   and not (c.relrowsecurity and c.relforcerowsecurity);
