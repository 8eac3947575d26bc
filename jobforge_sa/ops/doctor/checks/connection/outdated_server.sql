-- Known faults of Postgres through which rows get past their policies. Each is cured by a minor update, which needs no
-- more than a restart.
select 'warning' as level, 'Postgres ' || current_setting('server_version') as object, known.fault as detail,
       format('install Postgres %s.%s or later, and restart the server', known.major, known.minor) as remedy
  from (values
       (15, 14, 'CVE-2025-8713: planner statistics show samples of rows that a policy hides'),
       (16, 10, 'CVE-2025-8713: planner statistics show samples of rows that a policy hides'),
       (17, 6, 'CVE-2025-8713: planner statistics show samples of rows that a policy hides'),
       (15, 9, 'CVE-2024-10976, CVE-2024-10978: a reused plan or SET ROLE applies the policies of another role'),
       (16, 5, 'CVE-2024-10976, CVE-2024-10978: a reused plan or SET ROLE applies the policies of another role'),
       (17, 1, 'CVE-2024-10976, CVE-2024-10978: a reused plan or SET ROLE applies the policies of another role')
       ) known(major, minor, fault)
 where current_setting('server_version_num')::int / 10000 = known.major
   and current_setting('server_version_num')::int % 10000 < known.minor;
