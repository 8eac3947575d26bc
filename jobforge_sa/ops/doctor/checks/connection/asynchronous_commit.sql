-- With synchronous_commit off a crash of the server loses what was committed just before: jobs that the application was
-- told exist, and completions, so that a job runs again. (Claims switch it off themselves; there it costs nothing.)
select 'warning' as level, 'synchronous_commit' as object,
       format('it is off for this login (set by: %s)', s.source) as detail,
       case s.source when 'database' then format('alter database %I reset synchronous_commit;', current_database())
                     when 'user' then format('alter role %I reset synchronous_commit;', session_user)
                     when 'database user' then format('alter role %I in database %I reset synchronous_commit;',
                                                      session_user, current_database())
                     else 'alter system set synchronous_commit = on; select pg_reload_conf();' end as remedy
  from pg_settings s
 where s.name = 'synchronous_commit' and s.setting = 'off';
