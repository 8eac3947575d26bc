-- No policy binds a superuser or a role with BYPASSRLS. A forgotten filter or a wrong id in the application's own queries
-- then shows, and as superuser changes, the jobs of all tenants; so does SQL injection.
select 'warning' as level, format('login %I', session_user) as object,
       concat(
           case when r.rolsuper then 'it is a superuser: ' else 'it has BYPASSRLS: ' end,
           'NOT protected: what it reads from the tables itself',
           case when r.rolsuper then ' or writes to them, and the lease tokens' end,
           '. Still protected: functions demand the tenant to enqueue, cancel, retry and reschedule,'
           ' and touch no other''s jobs',
           case when views.names is not null then format('; %s show the tenant''s own, and nothing without one', views.names) end,
           '.') as detail,
       case when r.rolsuper
            then 'create role app login password ''...''; grant jobforge_app to app;  -- and let the application log in as app'
            else format('alter role %I nobypassrls;', current_user) end as remedy
  from pg_roles r
 cross join lateral (
       select string_agg(c.relname, ' and ' order by c.relname) as names
         from pg_class c
        where c.relnamespace = to_regnamespace('jobforge') and c.relkind = 'v'
          and pg_get_viewdef(c.oid) ~ 'current_tenant\(\)') views
 where r.rolname = current_user
   and exists (select from pg_class c
                where c.relnamespace = to_regnamespace('jobforge') and c.relrowsecurity and c.relforcerowsecurity
                  and not row_security_active(c.oid));
