-- A login without a role of ours reaches nothing of the queue, and cannot ask at which revision it stands or how tenants
-- are named: that it hears of few faults says little.
select 'error' as level, format('login %I', r.rolname) as object,
       'it is in none of jobforge''s roles: it can neither enqueue nor work nor look at jobs' as detail,
       format('grant jobforge_app to %I;', r.rolname) as remedy
  from pg_roles r
 where r.rolname = session_user and not r.rolsuper
   and not exists (select from pg_roles ours
                    where ours.rolname in ('jobforge_owner', 'jobforge_app', 'jobforge_worker', 'jobforge_admin')
                      and pg_has_role(r.oid, ours.oid, case when current_setting('server_version_num')::int >= 160000
                                                            then 'usage, set' else 'member' end));
